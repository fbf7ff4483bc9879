-- Fills the shop: half a million rows out of generate_series, the same ones each time but for the dates.
\set ON_ERROR_STOP on
set client_min_messages = warning;
set synchronous_commit = off;
select setseed(0.42) \g /dev/null

-- A text of `count` words that reads a little like one.
create function pg_temp.words(count integer) returns text language sql volatile as $$
    select string_agg((array['the', 'kettle', 'lamp', 'arrived', 'quickly', 'and', 'works', 'as', 'described', 'but',
        'colour', 'differs', 'slightly', 'from', 'picture', 'would', 'buy', 'again', 'my', 'neighbour', 'has', 'one',
        'too', 'packaging', 'was', 'torn', 'service', 'answered', 'within', 'hours', 'für', 'größer', 'naïve', '✓',
        'solid', 'oak', 'brushed', 'steel', 'not', 'cheap'])[1 + floor(random() * 40)::integer]
        || case when random() < 0.1 then '.' else '' end
        || case when random() < 0.3 then to_char(floor(random() * 1e6), 'FM999999') else '' end, ' ')
    from generate_series(1, count) $$;

begin;

insert into shop.customers (email, name, birthday, interests, preferences, points, created_at)
select 'customer' || n || '@example.com',
       (array['Ada', 'Bruno', 'Chloé', 'Dmitri', 'Esra', 'Frode', 'Giulia', 'Hakan'])[1 + n % 8] || ' '
           || (array['Müller', 'Okafor', 'Petit', 'Quist', 'Rossi', 'Sato', 'Tran'])[1 + n % 7],
       case when n % 5 > 0 then date '1950-01-01' + n % 20000 end,
       case n % 3 when 0 then '{}'::text[] when 1 then '{garden,"home office"}' else array['books', 'nr ' || n] end,
       jsonb_build_object('newsletter', n % 2 = 0, 'language', (array['de', 'fr', 'en'])[1 + n % 3]),
       n % 1500, now() - n % 700 * interval '1 day'
from generate_series(1, 30000) n;

insert into shop.addresses (customer_id, street, postcode, city, is_default)
select 1 + n % 30000, 'Hauptstraße ' || n % 200, lpad((n % 99999)::text, 5, '0'),
       (array['Berlin', 'Köln', 'München', 'Leipzig'])[1 + n % 4], n <= 30000
from generate_series(1, 40000) n;

insert into shop.categories (id, parent_id, title)
select n, nullif(n / 5, 0), 'Category ' || n from generate_series(1, 60) n;
select setval('shop.categories_id_seq', 60) \g /dev/null

insert into shop.products (title, description, attributes, tags, status, price, tax_rate, weight_grams)
select 'Article ' || n, case when n % 4 > 0 then pg_temp.words(20 + n % 60) end,
       jsonb_build_object('colour', (array['red', 'blue', 'grey'])[1 + n % 3], 'size', n % 40,
                          'parts', jsonb_build_array(n % 7, null, 1.50)),
       array['new', 'tag ' || n % 50], (enum_range(null::shop.product_status))[1 + n % 4],
       5 + (n * 37 % 20000) / 100.0, case when n % 6 = 0 then 0.070 else 0.190 end, random() * 5000
from generate_series(1, 4000) n;

insert into shop.product_categories
select 100000 + n, c from generate_series(1, 4000) n, lateral (values (1 + n % 60), (1 + (n + 7) % 60)) v (c);

insert into shop.product_images
select 100000 + n, 1,
       (select string_agg(sha512((n || ' ' || part)::bytea), '') from generate_series(1, 20 + n % 60) part)
from generate_series(1, 1000) n;

insert into shop.prices
select id, tstzrange(now() - interval '2 years', now() - interval '1 year'), price * 0.9 from shop.products
union all
select id, tstzrange(now() - interval '1 year', null), price from shop.products;

insert into shop.coupons
select 'SAVE' || n, 1 + n % 90, n % 13, case when n % 2 = 0 then date '2030-01-01' + n end
from generate_series(1, 500) n;

-- One in fifty is long enough to be kept out of line.
insert into shop.reviews (product_id, customer_id, stars, body, helpful, written_at)
select 100001 + n % 4000, 1 + n * 7 % 30000, 1 + n * 3 % 5,
       pg_temp.words(case when n % 50 = 0 then 1500 else 15 end),
       n % 20, now() - n % 900 * interval '1 day'
from generate_series(1, 12000) n;

insert into shop.orders (placed_at, customer_id, status, coupon, note)
select now() - (60000 - n) * interval '210 seconds', 1 + n * 11 % 30000,
       (enum_range(null::shop.order_status))[case when n > 57000 then 1 + n % 2 else 3 + n % 3 end],
       case when n % 20 = 0 then 'SAVE' || 1 + n % 500 end,
       case when n % 15 = 0 then E'leave it at the door,\tplease\nthank you \\o/' end
from generate_series(1, 60000) n;

insert into shop.order_items (order_id, placed_at, line, product_id, quantity, price)
select o.id, o.placed_at, line, p.id, 1 + (o.id + line) % 4, p.price
from shop.orders o, generate_series(1, 1 + (o.id % 4)::integer) line,
     lateral (select 100001 + (o.id * 13 + line * 101) % 4000 as wanted) w
join shop.products p on p.id = w.wanted;

update shop.orders o set total = i.total
from (select order_id, placed_at, sum(total) as total from shop.order_items group by 1, 2) i
where i.order_id = o.id and i.placed_at = o.placed_at;

insert into shop.payments (order_id, placed_at, method, state, amount, settled_at)
select id, placed_at, (enum_range(null::shop.payment_method))[1 + id % 4],
       case status when 'placed' then 'pending' when 'returned' then 'refunded' else 'settled' end::shop.payment_state,
       total, case when status <> 'placed' then placed_at + interval '2 hours' end
from shop.orders;

insert into stock.warehouses
values ('BER', 'Berlin', '(13.40,52.52)'), ('CGN', 'Köln', '(6.96,50.94)'), ('MUC', 'München', null);
insert into stock.inventory (warehouse, product_id, on_hand, reserved)
select code, id, (id * 7 % 500)::integer, (id % 5)::integer from stock.warehouses, shop.products;
insert into stock.movements (warehouse, product_id, quantity, reason, moved_at)
select (array['BER', 'CGN', 'MUC'])[1 + n % 3], 100001 + n % 4000, 1 + n % 50, 'delivery',
       now() - (40000 - n) * interval '4 minutes'
from generate_series(1, 40000) n;

insert into web.sessions (id, customer_id, client, basket, started_at, lasts)
select md5('session ' || n)::uuid, case when n % 3 > 0 then 1 + n % 30000 end,
       inet '2001:db8::' + n,
       jsonb_build_array(jsonb_build_object('article', 100001 + n % 4000, 'quantity', 1 + n % 3)),
       now() - (20000 - n) * interval '1 minute', n % 90 * interval '1 minute 0.5 seconds'
from generate_series(1, 20000) n;
insert into web.events
select md5('session ' || n % 20000)::uuid, (array['view', 'search', 'basket'])[1 + n % 3],
       '/article/' || 100001 + n % 4000,
       case when n % 4 = 0 then jsonb_build_object('referrer', 'https://example.org/?q=' || n) end,
       random() * 200, now() - (100000 - n / 2 * 2) * interval '20 seconds'
from generate_series(1, 100000) n;

insert into audit.order_history (order_id, was, became, at)
select id, 'placed', 'paid', placed_at + interval '2 hours' from shop.orders where status <> 'placed';

call shop.count_sales();
commit;

refresh materialized view shop.best_rated;
vacuum analyze;
