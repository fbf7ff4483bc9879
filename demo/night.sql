-- The shop's nightly work, done once while walferry follows: a table emptied and filled again, and one large
-- transaction.
\set ON_ERROR_STOP on
call shop.count_sales();
begin;
update stock.inventory set reserved = 0 where warehouse = 'MUC';
insert into stock.movements (warehouse, product_id, quantity, reason)
select 'MUC', 100001 + n % 4000, 1 + n % 9, 'stocktaking' from generate_series(1, 10000) n;
commit;
