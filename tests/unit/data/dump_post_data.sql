--
-- PostgreSQL database dump
--

\restrict wG7ym1Y4eYXJsGN36mBESLWOkBvHQwuVM0lm5lY1kCBmhFldSshF4d2fA1Kv5aU

-- Dumped from database version 15.20 (Debian 15.20-0+deb12u1)
-- Dumped by pg_dump version 15.20 (Debian 15.20-0+deb12u1)

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Name: excl excl_r_excl; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.excl
    ADD CONSTRAINT excl_r_excl EXCLUDE USING gist (r WITH &&);


--
-- Name: orders_1 chk1; Type: CHECK CONSTRAINT; Schema: sales; Owner: -
--

ALTER TABLE sales.orders_1
    ADD CONSTRAINT chk1 CHECK ((total > (0)::numeric)) NOT VALID;


--
-- Name: customer customer_name_key; Type: CONSTRAINT; Schema: sales; Owner: -
--

ALTER TABLE ONLY sales.customer
    ADD CONSTRAINT customer_name_key UNIQUE (name);


--
-- Name: customer customer_pkey; Type: CONSTRAINT; Schema: sales; Owner: -
--

ALTER TABLE ONLY sales.customer
    ADD CONSTRAINT customer_pkey PRIMARY KEY (id);

ALTER TABLE sales.customer CLUSTER ON customer_pkey;


--
-- Name: orders orders_pkey; Type: CONSTRAINT; Schema: sales; Owner: -
--

ALTER TABLE ONLY sales.orders
    ADD CONSTRAINT orders_pkey PRIMARY KEY (id, placed);


--
-- Name: orders_1 orders_1_pkey; Type: CONSTRAINT; Schema: sales; Owner: -
--

ALTER TABLE ONLY sales.orders_1
    ADD CONSTRAINT orders_1_pkey PRIMARY KEY (id, placed);


--
-- Name: orders_2 orders_2_pkey; Type: CONSTRAINT; Schema: sales; Owner: -
--

ALTER TABLE ONLY sales.orders_2
    ADD CONSTRAINT orders_2_pkey PRIMARY KEY (id, placed);


--
-- Name: a;b "c a;b "c_pkey; Type: CONSTRAINT; Schema: we ird;s; Owner: -
--

ALTER TABLE ONLY "we ird;s"."a;b ""c"
    ADD CONSTRAINT "a;b ""c_pkey" PRIMARY KEY (i);


--
-- Name: mv_i; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX mv_i ON public.mv USING btree (c);


--
-- Name: new index; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX "new
index" ON public."new
line" USING btree (i);


--
-- Name: ri_a; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX ri_a ON public.ri USING btree (a);

ALTER TABLE ONLY public.ri REPLICA IDENTITY USING INDEX ri_a;


--
-- Name: INDEX customer_pkey; Type: COMMENT; Schema: sales; Owner: -
--

COMMENT ON INDEX sales.customer_pkey IS 'comes behind its constraint';


--
-- Name: e_string; Type: INDEX; Schema: sales; Owner: -
--

CREATE INDEX e_string ON sales.customer USING btree (((name || '\ '''::text)));


--
-- Name: orders_total; Type: INDEX; Schema: sales; Owner: -
--

CREATE INDEX orders_total ON ONLY sales.orders USING btree (total);


--
-- Name: INDEX orders_total; Type: COMMENT; Schema: sales; Owner: -
--

COMMENT ON INDEX sales.orders_total IS 'with
newline
--
-- Name: zzz; Type: INDEX; Schema: public; Owner: -
--
';


--
-- Name: orders_1_total_idx; Type: INDEX; Schema: sales; Owner: -
--

CREATE INDEX orders_1_total_idx ON sales.orders_1 USING btree (total);


--
-- Name: orders_2_total_idx; Type: INDEX; Schema: sales; Owner: -
--

CREATE INDEX orders_2_total_idx ON sales.orders_2 USING btree (total);


--
-- Name: i; Type: x; Type: INDEX; Schema: we ird;s; Owner: -
--

CREATE INDEX "i; Type: x" ON "we ird;s"."a;b ""c" USING btree ("x y");


--
-- Name: orders_1_pkey; Type: INDEX ATTACH; Schema: sales; Owner: -
--

ALTER INDEX sales.orders_pkey ATTACH PARTITION sales.orders_1_pkey;


--
-- Name: orders_1_total_idx; Type: INDEX ATTACH; Schema: sales; Owner: -
--

ALTER INDEX sales.orders_total ATTACH PARTITION sales.orders_1_total_idx;


--
-- Name: orders_2_pkey; Type: INDEX ATTACH; Schema: sales; Owner: -
--

ALTER INDEX sales.orders_pkey ATTACH PARTITION sales.orders_2_pkey;


--
-- Name: orders_2_total_idx; Type: INDEX ATTACH; Schema: sales; Owner: -
--

ALTER INDEX sales.orders_total ATTACH PARTITION sales.orders_2_total_idx;


--
-- Name: st1; Type: STATISTICS; Schema: sales; Owner: -
--

CREATE STATISTICS sales.st1 ON id, customer FROM sales.orders_1;


--
-- Name: excl r1; Type: RULE; Schema: public; Owner: -
--

CREATE RULE r1 AS
    ON INSERT TO public.excl DO NOTHING;


--
-- Name: customer t1; Type: TRIGGER; Schema: sales; Owner: -
--

CREATE TRIGGER t1 BEFORE INSERT ON sales.customer FOR EACH ROW EXECUTE FUNCTION public.f();

ALTER TABLE sales.customer DISABLE TRIGGER t1;


--
-- Name: TRIGGER t1 ON customer; Type: COMMENT; Schema: sales; Owner: -
--

COMMENT ON TRIGGER t1 ON sales.customer IS 'trig';


--
-- Name: orders orders_fk; Type: FK CONSTRAINT; Schema: sales; Owner: -
--

ALTER TABLE sales.orders
    ADD CONSTRAINT orders_fk FOREIGN KEY (customer) REFERENCES sales.customer(id);


--
-- Name: CONSTRAINT orders_fk ON orders; Type: COMMENT; Schema: sales; Owner: -
--

COMMENT ON CONSTRAINT orders_fk ON sales.orders IS 'c';


--
-- Name: customer; Type: ROW SECURITY; Schema: sales; Owner: -
--

ALTER TABLE sales.customer ENABLE ROW LEVEL SECURITY;

--
-- Name: customer pol; Type: POLICY; Schema: sales; Owner: -
--

CREATE POLICY pol ON sales.customer USING (true);


--
-- PostgreSQL database dump complete
--

\unrestrict wG7ym1Y4eYXJsGN36mBESLWOkBvHQwuVM0lm5lY1kCBmhFldSshF4d2fA1Kv5aU

