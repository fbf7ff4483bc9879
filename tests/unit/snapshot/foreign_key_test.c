#include "snapshot/foreign_key.h"
#include "testing.h"

static void check_split(const char *sql, const char *make, const char *validate, const char *referenced) {
    ForeignKey key;
    assert_int_equal(foreign_key_split(sql, &key), make != NULL);
    assert_string_equal(writer_string(&key.make), make == NULL ? "" : make);
    assert_string_equal(writer_string(&key.validate), validate == NULL ? "" : validate);
    assert_string_equal(writer_string(&key.referenced), referenced == NULL ? "" : referenced);
    foreign_key_free(&key);
}

static void a_key_is_made_and_then_validated(void **unused) {
    (void)unused;
    check_split("--\n-- Name: orders orders_fk; Type: FK CONSTRAINT; Schema: public; Owner: -\n--\n\n"
                "ALTER TABLE ONLY public.orders\n    ADD CONSTRAINT orders_fk FOREIGN KEY (a, b)"
                " REFERENCES public.items(a, b) ON DELETE CASCADE DEFERRABLE;\n\n\n",
                "ALTER TABLE ONLY public.orders\n    ADD CONSTRAINT orders_fk FOREIGN KEY (a, b)"
                " REFERENCES public.items(a, b) ON DELETE CASCADE DEFERRABLE NOT VALID;",
                "ALTER TABLE ONLY public.orders VALIDATE CONSTRAINT orders_fk;", "public.items");
}

static void names_may_hold_anything(void **unused) {
    (void)unused;
    check_split(
        "ALTER TABLE ONLY \"a;b\".\"x ADD CONSTRAINT y\" ADD CONSTRAINT \"c FOREIGN KEY \"\"\" FOREIGN KEY "
        "(a)"
        " REFERENCES t(\"NOT VALID\");",
        "ALTER TABLE ONLY \"a;b\".\"x ADD CONSTRAINT y\" ADD CONSTRAINT \"c FOREIGN KEY \"\"\" FOREIGN KEY "
        "(a)"
        " REFERENCES t(\"NOT VALID\") NOT VALID;",
        "ALTER TABLE ONLY \"a;b\".\"x ADD CONSTRAINT y\" VALIDATE CONSTRAINT \"c FOREIGN KEY \"\"\";", "t");
}

static void what_cannot_be_split_is_left_as_it_is(void **unused) {
    (void)unused;
    check_split("ALTER TABLE public.parted\n    ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES t(a);", NULL,
                NULL, NULL);
    check_split("ALTER TABLE ONLY s.t ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES t(a) NOT VALID;", NULL,
                NULL, NULL);
    check_split("ALTER TABLE ONLY s.t ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES t(a) NOT ENFORCED;", NULL,
                NULL, NULL);
    check_split("ALTER TABLE ONLY s.t ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES t(a); SELECT 1;", NULL,
                NULL, NULL);
    check_split("COMMENT ON CONSTRAINT f ON s.t IS 'ADD CONSTRAINT x FOREIGN KEY';", NULL, NULL, NULL);
    check_split("", NULL, NULL, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_is_made_and_then_validated),
        cmocka_unit_test(names_may_hold_anything),
        cmocka_unit_test(what_cannot_be_split_is_left_as_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
