-- One line a table: name, rows, and a checksum that does not depend on the order of the rows (the digest of the sum of
-- their hashes). Partitions are tables of their own; what walferry makes for itself is left out.
\set ON_ERROR_STOP on
set extra_float_digits = 1;
set datestyle = iso;
set intervalstyle = postgres;
set timezone = 'UTC';
set bytea_output = hex;
set row_security = off;
begin isolation level repeatable read read only;
select string_agg(format(
           'select %L, count(*), left(md5(coalesce(sum(hashtextextended(t::text, 0)::numeric), 0)::text), 16)
            from only %I.%I t',
           nspname || '.' || relname, nspname, relname), ' union all ') as every_table
from pg_class c join pg_namespace n on n.oid = relnamespace
where relkind = 'r' and relpersistence <> 't' and nspname !~ '^pg_'
  and nspname not in ('information_schema', 'walferry') and relname !~ '^dts_'
\gset
\if :{?every_table}
:every_table;
\endif
commit;
