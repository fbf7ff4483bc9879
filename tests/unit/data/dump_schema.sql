-- What dump_post_data.list and dump_post_data.sql were made from, by pg_dump and pg_restore 15.20:
--   createdb walferry_dump; psql -d walferry_dump -f dump_schema.sql
--   pg_dump -Fc --schema-only --encoding=UTF8 --no-owner --no-privileges --no-publications -f dump walferry_dump
--   pg_restore --list --section=post-data dump > dump_post_data.list
--   grep -v 'EVENT TRIGGER' dump_post_data.list > kept
--   pg_restore --no-owner --no-privileges --no-tablespaces --section=post-data -L kept -f dump_post_data.sql dump
create schema sales; create schema "we ird;s";
create type sales.mood as enum ('a','b');
create domain sales.pos as int check (value > 0);
create table sales.customer (id bigint generated always as identity primary key, name text unique, m sales.mood, p sales.pos default 1, up text generated always as (upper(name)) stored);
create table sales.orders (id int, placed date not null, customer bigint not null, total numeric, primary key(id, placed)) partition by range (placed);
create table sales.orders_1 partition of sales.orders for values from ('2020-01-01') to ('2021-01-01');
create table sales.orders_2 partition of sales.orders for values from ('2021-01-01') to ('2022-01-01');
create index orders_total on sales.orders(total);
alter table sales.orders add constraint orders_fk foreign key (customer) references sales.customer(id);
alter table sales.orders_1 add constraint chk1 check (total > 0) not valid;
create statistics sales.st1 on id, customer from sales.orders_1;
create table public.excl (r int4range, exclude using gist (r with &&));
create function public.f() returns trigger language plpgsql as $$
begin
-- Name: fake; Type: INDEX; Schema: public; Owner: nobody
  return new;
end $$;
create trigger t1 before insert on sales.customer for each row execute function public.f();
create function public.sqlf(int) returns int language sql begin atomic select $1; end;
create table "we ird;s"."a;b ""c" (i int primary key, "x y" text);
create index "i; Type: x" on "we ird;s"."a;b ""c" ("x y");
create rule r1 as on insert to public.excl do also nothing;
alter table sales.customer enable row level security;
create policy pol on sales.customer using (true);
create view public.v as select * from sales.customer;
create materialized view public.mv as select count(*) c from sales.customer;
create materialized view public.mv2 as select c+1 as d from public.mv;
create unique index mv_i on public.mv (c);
create table public.par(a int); create table public.chi(b int) inherits (public.par);
create table public.zero(); 
create table public.onlygen(g int generated always as (1) stored);
create function public.etf() returns event_trigger language plpgsql as $$ begin end $$; create event trigger et on ddl_command_end execute function public.etf();
create sequence public.sq increment -2 start -5; select nextval('public.sq');
create sequence public.sq2 start 10; 
comment on index sales.orders_total is 'with
newline
--
-- Name: zzz; Type: INDEX; Schema: public; Owner: -
--
';
comment on constraint orders_fk on sales.orders is 'c';
comment on trigger t1 on sales.customer is 'trig';
alter table public.par replica identity full;
create table public.ri(a int not null, b text); create unique index ri_a on public.ri(a); alter table public.ri replica identity using index ri_a;
alter table sales.customer cluster on customer_pkey;
alter table sales.customer disable trigger t1;
create collation public.coll (locale='C');
create aggregate public.agg(int) (sfunc=int4pl, stype=int);
comment on index sales.customer_pkey is 'comes behind its constraint';
comment on event trigger et is 'left out';
create index e_string on sales.customer ((name || E'\\ '''));
create table public."new
line" (i int);
create index "new
index" on public."new
line" (i);
