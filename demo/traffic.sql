-- What the shop's users and staff do, as a pgbench script: each run is one of them, chosen by the dice.
-- Rows are locked in one order everywhere, so two clients never wait for each other in a circle.
\set dice random(1, 100)
\set customer random(1, 30000)
\set first random(100001, 103000)
\set second :first + random(1, 900)
\set quantity random(1, 3)

\if :dice <= 35
-- an order with two items, its payment, and the stock behind it
begin;
insert into shop.orders (customer_id, note)
values (:customer, 'ordered ' || clock_timestamp()) returning id as new_order, placed_at as placed \gset
insert into shop.order_items (order_id, placed_at, line, product_id, quantity, price)
select :new_order, ':placed', row_number() over (order by id), id, :quantity, price
from shop.products where id in (:first, :second);
update shop.orders o set total = (select sum(total) from shop.order_items i where i.order_id = o.id)
where id = :new_order and placed_at = ':placed';
insert into shop.payments (order_id, placed_at, method, amount)
select id, placed_at, 'card', total from shop.orders where id = :new_order and placed_at = ':placed';
update stock.inventory set reserved = reserved + :quantity where warehouse = 'BER' and product_id = :first;
update stock.inventory set reserved = reserved + :quantity where warehouse = 'BER' and product_id = :second;
commit;

\elif :dice <= 55
-- a payment comes in; the trigger writes the history
begin;
select id as paid_order, placed_at as placed from shop.orders where status = 'placed'
order by placed_at limit 1 for update skip locked \gset
update shop.orders set status = 'paid' where id = :paid_order and placed_at = ':placed';
update shop.payments set state = 'settled', settled_at = clock_timestamp() where order_id = :paid_order;
update shop.customers set points = points + 10 where id = :customer;
commit;

\elif :dice <= 63
-- goods leave the house
begin;
update shop.orders set status = 'shipped', note = null
where (id, placed_at) in (select id, placed_at from shop.orders
                          where status = 'paid' and placed_at > now() - interval '5 days'
                          order by placed_at limit 1 for update skip locked);
insert into stock.movements (warehouse, product_id, quantity, reason) values ('BER', :first, -:quantity, 'sale');
update stock.inventory set on_hand = on_hand - :quantity where warehouse = 'BER' and product_id = :first;
commit;

\elif :dice <= 70
-- a vote for a review: its long text is left alone
update shop.reviews set helpful = helpful + 1 where id = :customer % 240 * 50 + 50;

\elif :dice <= 73
-- a review is written anew, with a text that does not fit on a page of the database
update shop.reviews
set body = (select string_agg(md5(n::text || :customer), ' ') from generate_series(1, 300) n), written_at = now()
where id = :customer % 12000 + 1;

\elif :dice <= 76
insert into shop.reviews (product_id, customer_id, stars, body)
values (:first, :customer, :quantity, 'arrived on time') on conflict do nothing;

\elif :dice <= 80
-- an order is taken back: its items and payments go with it
delete from shop.orders
where (id, placed_at) in (select id, placed_at from shop.orders where status = 'placed'
                          order by placed_at desc limit 1 for update skip locked);

\elif :dice <= 84
-- a new price: the open range of the old one is closed, which changes its key
begin;
select id as priced from shop.products where id = :first for no key update \gset
update shop.prices set valid = tstzrange(lower(valid), clock_timestamp())
where product_id = :priced and upper_inf(valid);
insert into shop.prices
select product_id, tstzrange(max(upper(valid)), null), :quantity * 10.25
from shop.prices where product_id = :priced group by 1;
update shop.products set price = :quantity * 10.25, changed_at = now(), attributes = attributes || '{"sale": true}'
where id = :priced;
commit;

\elif :dice <= 92
-- somebody looks around; what is done in the savepoint never happened
begin;
insert into web.sessions (customer_id, client) values (:customer, '192.0.2.7') returning id as visit \gset
insert into web.events
values (':visit', 'view', '/article/:first', null, 12.5), (':visit', 'view', '/article/:first', null, 12.5);
savepoint basket;
update web.sessions set basket = '["too much"]' where id = ':visit';
insert into web.events values (':visit', 'basket', '/basket', '{"undone": true}');
rollback to savepoint basket;
update web.sessions set lasts = lasts + interval '1 minute' where id = ':visit';
commit;

\elif :dice <= 96
-- an old visit is forgotten: rows without a key are deleted
begin;
delete from web.sessions where id = md5('session ' || :customer % 20000)::uuid;
update web.events set details = '{"anonymous": true}'
where session_id = md5('session ' || :customer % 20000)::uuid and kind = 'view';
delete from web.events where session_id = md5('session ' || :customer % 20000)::uuid and kind = 'basket';
commit;

\elif :dice <= 98
update shop.coupons set used = used + 1 where code = 'SAVE' || 1 + :customer % 500;

\else
-- a customer moves, and takes another address
begin;
update shop.customers set email = 'customer:customer' || '@example.org', preferences = preferences || '{"moved": true}'
where id = :customer;
update shop.addresses set street = 'Am Markt 1', city = 'Weimar' where customer_id = :customer and is_default;
commit;
\endif
