/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "formula/recap.h"
#include "formula/sink.h"
#include "formula/store_mongodb.h"
#include "lib/clock.h"
#include "lib/err.h"
#include "lib/log.h"
#include "tests/support/store_fixture.h"

#define SECOND UINT64_C(1000000000)

/* A store that can be away. */
static struct {
    pthread_mutex_t mutex;
    int answer; /* of deliver */
    unsigned tries;
    unsigned taken;
    char keys[256];
} away = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static int fake_open(const char *uri, void **ret_state, struct cb_err *err)
{
    if (strcmp(uri, "good") != 0)
        return cb_err_set(err, EINVAL, "bad uri");
    *ret_state = &away;
    return 0;
}

static int fake_deliver(void *state, const char *key, const char *document, struct cb_err *err)
{
    int r;

    assert_ptr_equal(state, &away);
    assert_non_null(strstr(document, "\"phases\""));
    (void)pthread_mutex_lock(&away.mutex);
    away.tries++;
    r = away.answer;
    if (r == 0) {
        size_t n = strlen(away.keys);

        away.taken++;
        (void)snprintf(away.keys + n, sizeof(away.keys) - n, "%s ", key);
    }
    (void)pthread_mutex_unlock(&away.mutex);
    return r < 0 ? cb_err_set(err, -r, "away") : 0;
}

static void fake_close(void *state)
{
    (void)state;
}

static const struct cb_sink_ops fake_ops = {
    .name = "fake", .open = fake_open, .deliver = fake_deliver, .close = fake_close};

static unsigned tries(void)
{
    unsigned n;

    (void)pthread_mutex_lock(&away.mutex);
    n = away.tries;
    (void)pthread_mutex_unlock(&away.mutex);
    return n;
}

static void answer_with(int r)
{
    (void)pthread_mutex_lock(&away.mutex);
    away.answer = r;
    (void)pthread_mutex_unlock(&away.mutex);
}

/* A test of [10 s, 12 s) with its recap, queued. */
static void put_recap(struct store_fixture *f, const char *id)
{
    static const char *const sinks[] = {"fake"};
    struct cb_store_start start = store_fixture_start(f->store);
    struct cb_store_test test = {.boot = start.boot};

    (void)snprintf(test.id, sizeof(test.id), "%s", id);
    (void)snprintf(test.name, sizeof(test.name), "sleep");
    assert_int_equal(cb_store_put_test(f->store, &test, "[]", NULL), 0);
    (void)snprintf(test.container_id, sizeof(test.container_id), FIXTURE_ID_A);
    test.begin_ns = 10 * SECOND;
    test.end_ns = 12 * SECOND;
    test.ended_wall_ns = 13 * SECOND;
    assert_int_equal(cb_store_end_test(f->store, &test, NULL), 0);
    assert_int_equal(cb_store_test(f->store, id, &test, NULL), 0);
    assert_int_equal(cb_recap_finish(f->store, &test, sinks, 1, NULL), 0);
}

static uint64_t waiting(struct store_fixture *f, uint64_t *ret_aside)
{
    uint64_t n = 0;

    assert_int_equal(cb_store_queue_length(f->store, "fake", &n, ret_aside, NULL), 0);
    return n;
}

static struct cb_sink *start_sink(struct store_fixture *f, struct cb_notify *notify)
{
    struct cb_sink_options options = {.ops = &fake_ops,
                                      .uri = "good",
                                      .database = f->path,
                                      .notify = notify,
                                      .retry_min_ns = SECOND / 100,
                                      .retry_max_ns = SECOND / 20};
    struct cb_sink *sink = NULL;

    cb_notify_init(notify);
    assert_int_equal(cb_sink_start(&options, &sink, NULL), 0);
    return sink;
}

static void stop_sink(struct cb_sink *sink, struct cb_notify *notify)
{
    cb_notify_stop(notify);
    (void)cb_sink_stop(sink);
    cb_notify_fini(notify);
}

/* Wait until the queue has @n entries that wait. */
static void until_waiting(struct store_fixture *f, uint64_t n)
{
    uint64_t aside;

    for (int i = 0; i < 500 && waiting(f, &aside) != n; i++)
        (void)usleep(10000);
    assert_int_equal(waiting(f, &aside), n);
}

static int setup(void **state)
{
    cb_log_init("test", CB_LOG_ERR, false);
    away.answer = 0;
    away.tries = away.taken = 0;
    away.keys[0] = '\0';
    return store_fixture_setup(state);
}

static void delivers_in_order_and_only_once(void **state)
{
    struct store_fixture *f = *state;
    struct cb_notify notify;
    struct cb_sink *sink;

    put_recap(f, "a");
    sink = start_sink(f, &notify);
    until_waiting(f, 0);
    put_recap(f, "b");
    put_recap(f, "c");
    cb_notify_bump(&notify);
    until_waiting(f, 0);
    assert_int_equal(atomic_load(&cb_sink_stats(sink)->delivered_total), 3);
    stop_sink(sink, &notify);
    assert_string_equal(away.keys, "a b c ");
    sink = start_sink(f, &notify);
    (void)usleep(50000);
    stop_sink(sink, &notify);
    assert_int_equal(away.taken, 3);
}

static void keeps_its_queue_while_the_other_store_is_away_over_a_restart(void **state)
{
    struct store_fixture *f = *state;
    struct cb_notify notify;
    struct cb_sink *sink;
    uint64_t aside;

    answer_with(-EIO);
    put_recap(f, "a");
    put_recap(f, "b");
    sink = start_sink(f, &notify);
    for (int i = 0; i < 500 && tries() < 3; i++)
        (void)usleep(10000);
    assert_true(tries() >= 3);
    stop_sink(sink, &notify);
    assert_int_equal(waiting(f, &aside), 2);
    answer_with(0);
    sink = start_sink(f, &notify);
    until_waiting(f, 0);
    stop_sink(sink, &notify);
    assert_string_equal(away.keys, "a b ");
}

static void sets_aside_what_will_never_be_taken_and_goes_on(void **state)
{
    struct store_fixture *f = *state;
    struct cb_notify notify;
    struct cb_sink *sink;
    uint64_t aside = 0;

    cb_log_init("test", CB_LOG_ERR, false);
    answer_with(-EBADMSG);
    put_recap(f, "a");
    sink = start_sink(f, &notify);
    until_waiting(f, 0);
    answer_with(0);
    put_recap(f, "b");
    cb_notify_bump(&notify);
    until_waiting(f, 0);
    stop_sink(sink, &notify);
    assert_int_equal(waiting(f, &aside), 0);
    assert_int_equal(aside, 1);
    assert_string_equal(away.keys, "b ");
}

static void a_bad_uri_is_refused_before_anything_runs(void **state)
{
    static const char *const bad[] = {
        "",           "localhost",         "http://localhost",
        "mongodb://", "mongodb://h:port/", "mongodb://user:secret@/x"};
    struct store_fixture *f = *state;
    struct cb_sink_options options = {.ops = &cb_sink_mongodb, .database = f->path};
    struct cb_sink *sink = NULL;
    struct cb_err err = {0};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        options.uri = bad[i];
        assert_int_equal(cb_sink_start(&options, &sink, &err), -EINVAL);
        assert_null(sink);
        assert_non_null(strstr(err.text, "mongodb://"));
        assert_null(strstr(err.text, "secret"));
    }
}

/* ---- the document ---- */

static double double_at(const bson_t *doc, const char *key)
{
    bson_iter_t at;

    if (!bson_iter_init_find(&at, doc, key) || !BSON_ITER_HOLDS_DOUBLE(&at))
        fail_msg("no double '%s'", key);
    return bson_iter_double(&at);
}

static int64_t date_at(const bson_t *doc, const char *key)
{
    bson_iter_t at;

    if (!bson_iter_init_find(&at, doc, key) || !BSON_ITER_HOLDS_DATE_TIME(&at))
        fail_msg("no date '%s'", key);
    return bson_iter_date_time(&at);
}

static const char *utf8_at(const bson_t *doc, const char *key)
{
    bson_iter_t at;

    if (!bson_iter_init_find(&at, doc, key) || !BSON_ITER_HOLDS_UTF8(&at))
        fail_msg("no text '%s'", key);
    return bson_iter_utf8(&at, NULL);
}

static void make_document(struct store_fixture *f, bool with_marks, bson_t *ret)
{
    struct cb_store_start start = store_fixture_start(f->store);
    struct cb_store_test test = {.boot = start.boot,
                                 .begin_ns = 10 * SECOND,
                                 .end_ns = 14 * SECOND,
                                 .has_warmup = with_marks,
                                 .warmup_ns = with_marks ? 11 * SECOND : 0,
                                 .has_execution = with_marks,
                                 .execution_ns = with_marks ? 12 * SECOND + SECOND / 2 : 0,
                                 .exit_code = 3};
    struct cb_result result = {0};
    struct cb_recap recap;
    uint64_t seed = 1;
    json_t *json;

    for (uint64_t i = 10; i < 14; i++) {
        fixture_result(&result, &seed, i * SECOND, (i + 1) * SECOND, 4, 2);
        fixture_put(f->store, &start, i - 9, &result);
    }
    (void)snprintf(test.name, sizeof(test.name), "busy");
    (void)snprintf(test.machine, sizeof(test.machine), "node1");
    (void)snprintf(test.container_id, sizeof(test.container_id), FIXTURE_ID_A);
    assert_int_equal(cb_recap_build(f->store, &test, &recap, NULL), 0);
    json = cb_recap_to_json(&recap);
    assert_non_null(json);
    assert_int_equal(cb_mongodb_document("key1", json, ret, NULL), 0);
    json_decref(json);
    cb_recap_clear(&recap);
    cb_result_clear(&result);
}

static void the_document_has_the_listeners_names_and_whole_machine_joules(void **state)
{
    const int64_t wall_ms = (int64_t)(FIXTURE_WALL_OFFSET / 1000000);
    struct store_fixture *f = *state;
    double parts;
    bson_t doc;

    make_document(f, true, &doc);
    assert_string_equal(utf8_at(&doc, "_id"), "key1");
    assert_string_equal(utf8_at(&doc, "name"), "busy");
    assert_string_equal(utf8_at(&doc, "id"), FIXTURE_ID_A);
    assert_int_equal(date_at(&doc, "begin"), wall_ms + 10000);
    assert_int_equal(date_at(&doc, "beginwarmup"), wall_ms + 11000);
    assert_int_equal(date_at(&doc, "beginexecution"), wall_ms + 12500);
    assert_int_equal(date_at(&doc, "end"), wall_ms + 14000);
    assert_true(double_at(&doc, "warmup time") == 1.5);
    assert_true(double_at(&doc, "execution time") == 1.5);
    assert_true(double_at(&doc, "warmup_powers_PKG_0") > 0);
    assert_true(double_at(&doc, "warmup_powers_DRAM_1") > 0);
    parts = double_at(&doc, "execution_container_dynamic_PKG_1") +
            double_at(&doc, "execution_others_PKG_1") + double_at(&doc, "execution_system_PKG_1") +
            double_at(&doc, "execution_idle_PKG_1") +
            double_at(&doc, "execution_unattributed_PKG_1");
    assert_true(double_at(&doc, "execution_powers_PKG_1") - parts < 1e-9);
    assert_true(parts - double_at(&doc, "execution_powers_PKG_1") < 1e-9);
    assert_true(double_at(&doc, "execution_container_uncertainty_DRAM_0") > 0);
    assert_string_equal(utf8_at(&doc, "execution_source_DRAM_0"), "perf");
    assert_string_equal(utf8_at(&doc, "machine"), "node1");
    bson_destroy(&doc);
}

static void without_marks_there_is_no_warm_up_in_the_document(void **state)
{
    struct store_fixture *f = *state;
    bson_iter_t at;
    bson_t doc;

    make_document(f, false, &doc);
    assert_int_equal(date_at(&doc, "beginwarmup"), date_at(&doc, "begin"));
    assert_int_equal(date_at(&doc, "beginexecution"), date_at(&doc, "begin"));
    assert_true(double_at(&doc, "warmup time") == 0);
    assert_true(double_at(&doc, "execution time") == 4);
    assert_false(bson_iter_init_find(&at, &doc, "warmup_powers_PKG_0"));
    assert_true(double_at(&doc, "execution_powers_PKG_0") > 0);
    bson_destroy(&doc);
}

static void what_is_no_stored_recap_makes_no_document(void **state)
{
    static const char *const bad[] = {"{}", "[]", "{\"begin_wall_ns\":1}",
                                      "{\"begin_wall_ns\":1,\"phases\":[{}]}",
                                      "{\"begin_wall_ns\":1,\"phases\":[{\"phase\":\"x\","
                                      "\"domains\":[{\"domain\":\"moon\"}]}]}"};

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        json_t *json = json_loads(bad[i], 0, NULL);
        bson_t doc;

        assert_non_null(json);
        assert_int_equal(cb_mongodb_document("k", json, &doc, NULL), -EBADMSG);
        json_decref(json);
    }
}

static void a_machines_name_becomes_one_that_a_collection_may_have(void **state)
{
    char machine[CB_NAME_SIZE];
    char name[CB_MONGODB_COLLECTION_SIZE];
    char other[CB_MONGODB_COLLECTION_SIZE];

    (void)state;
    cb_mongodb_collection("cbwatts", "node1", name);
    assert_string_equal(name, "recapnode1");
    cb_mongodb_collection("cbwatts", "$a$.b", name);
    assert_string_equal(name, "recap%24a%24.b");
    memset(machine, '$', sizeof(machine) - 1);
    machine[sizeof(machine) - 1] = '\0';
    cb_mongodb_collection("cbwatts", machine, name);
    assert_true(strlen(name) <= 235 && !strchr(name, '$'));
    machine[sizeof(machine) - 2] = 'x';
    cb_mongodb_collection("cbwatts", machine, other);
    assert_string_not_equal(name, other);
    for (size_t i = 0; i + 1 < sizeof(machine); i++)
        machine[i] = "\xc3\xa9"[i % 2];
    cb_mongodb_collection("a-database-of-thirty-eight-characters-", machine, name);
    assert_true(strlen(name) <= 255 - 39);
    assert_true(bson_utf8_validate(name, strlen(name), false));
}

/* As the driver reports them: its error API is 1. */
static void a_refused_document_is_told_from_a_server_that_is_away(void **state)
{
    static const struct {
        uint32_t domain, code;
        const char *text;
        bool hopeless;
    } cases[] = {
        {MONGOC_ERROR_BSON, MONGOC_ERROR_BSON_INVALID, "corrupt BSON", true},
        {MONGOC_ERROR_COMMAND, MONGOC_ERROR_COMMAND_INVALID_ARG, "invalid document", true},
        {MONGOC_ERROR_QUERY, 73, "Invalid collection name specified 'x.recap$a'", true},
        {MONGOC_ERROR_SERVER, 73, "Invalid namespace", true},
        {MONGOC_ERROR_COMMAND, 121, "Document failed validation", true},
        {MONGOC_ERROR_COMMAND, 2, "bad value", true},
        {MONGOC_ERROR_COMMAND, 10334, "BSONObj size: 17825792 is invalid", true},
        {MONGOC_ERROR_COMMAND, 11000, "E11000 duplicate key: x.r index: name_1 dup key", true},
        {MONGOC_ERROR_COMMAND, 11000, "E11000 duplicate key: x.r index: _id_ dup key", false},
        {MONGOC_ERROR_QUERY, 2, "cannot use 'w' > 1 when a host is not replicated", false},
        {MONGOC_ERROR_QUERY, 13, "not authorized on x to execute command", false},
        {MONGOC_ERROR_QUERY, 10107, "not primary", false},
        {MONGOC_ERROR_CLIENT, MONGOC_ERROR_CLIENT_AUTHENTICATE, "Authentication failed.", false},
        {MONGOC_ERROR_STREAM, MONGOC_ERROR_STREAM_SOCKET, "Failed to send", false},
        {MONGOC_ERROR_SERVER_SELECTION, 13053, "No suitable servers found", false},
        {MONGOC_ERROR_WRITE_CONCERN, 64, "waiting for replication timed out", false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        bson_error_t error;

        bson_set_error(&error, cases[i].domain, cases[i].code, "%s", cases[i].text);
        if (cb_mongodb_is_hopeless(&error) != cases[i].hopeless)
            fail_msg("%s", cases[i].text);
    }
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, store_fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(delivers_in_order_and_only_once),
        TEST(keeps_its_queue_while_the_other_store_is_away_over_a_restart),
        TEST(sets_aside_what_will_never_be_taken_and_goes_on),
        TEST(a_bad_uri_is_refused_before_anything_runs),
        TEST(the_document_has_the_listeners_names_and_whole_machine_joules),
        TEST(without_marks_there_is_no_warm_up_in_the_document),
        TEST(what_is_no_stored_recap_makes_no_document),
        cmocka_unit_test(a_machines_name_becomes_one_that_a_collection_may_have),
        cmocka_unit_test(a_refused_document_is_told_from_a_server_that_is_away),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
