/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <curl/curl.h>
#include <jansson.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "formula/http.h"
#include "formula/keeper.h"
#include "formula/usage.h"
#include "lib/clock.h"
#include "lib/err.h"
#include "lib/log.h"
#include "tests/support/store_fixture.h"

#define SECOND UINT64_C(1000000000)
#define BEGIN_BODY                                                                                 \
    "{\"name\":\"sleep\",\"image\":\"cb/sleep\",\"boot_id\":\"" FIXTURE_BOOT "\",\"args\":[\"5\"]" \
    "}"

struct web {
    struct store_fixture *f;
    struct cb_notify notify;
    struct cb_totals *totals;
    struct cb_ingest_stats stats;
    struct cb_http *http;
    char address[64];
    struct cb_store_start start;
    uint64_t seed, seq;
    struct cb_result result;
};

struct answer {
    long status;
    char *text;
    size_t size;
    json_t *json;
};

static void start_web(struct web *w)
{
    struct cb_http_options options = {
        .database = w->f->path, .notify = &w->notify, .totals = w->totals, .stats = &w->stats};
    struct cb_err err = {0};

    if (cb_http_listen("127.0.0.1:0", &options.listen_fd, &options.loopback, w->address, &err) <
            0 ||
        cb_http_start(&options, &w->http, &err) < 0)
        fail_msg("%s", err.text);
    assert_true(options.loopback);
}

static int setup(void **state)
{
    struct web *w = calloc(1, sizeof(*w));
    void *f = NULL;

    assert_non_null(w);
    cb_log_init("test", CB_LOG_ERR, false);
    assert_int_equal(store_fixture_setup(&f), 0);
    w->f = f;
    w->start = store_fixture_start(w->f->store);
    w->totals = cb_totals_new();
    assert_non_null(w->totals);
    cb_notify_init(&w->notify);
    start_web(w);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct web *w = *state;
    void *f = w->f;

    cb_notify_stop(&w->notify);
    w->http = cb_http_stop(w->http);
    w->totals = cb_totals_free(w->totals);
    cb_notify_fini(&w->notify);
    cb_result_clear(&w->result);
    free(w);
    return store_fixture_teardown(&f);
}

static size_t take(char *data, size_t one, size_t n, void *context)
{
    struct answer *answer = context;
    char *moved = realloc(answer->text, answer->size + n * one + 1);

    if (!moved)
        return 0;
    answer->text = moved;
    memcpy(moved + answer->size, data, n * one);
    answer->size += n * one;
    moved[answer->size] = '\0';
    return n * one;
}

/* One request; @header may be NULL. */
static struct answer request(const struct web *w, const char *method, const char *path,
                             const char *body, const char *header)
{
    struct answer answer = {.status = 0};
    struct curl_slist *headers = NULL;
    CURL *curl = curl_easy_init();
    char url[512];

    assert_non_null(curl);
    (void)snprintf(url, sizeof(url), "http://%s%s", w->address, path);
    if (header)
        headers = curl_slist_append(headers, header);
    (void)curl_easy_setopt(curl, CURLOPT_URL, url);
    (void)curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
    (void)curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
    (void)curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEDATA, &answer);
    (void)curl_easy_setopt(curl, CURLOPT_TIMEOUT, 40L);
    if (body)
        (void)curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
    assert_int_equal(curl_easy_perform(curl), CURLE_OK);
    (void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &answer.status);
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    answer.json = answer.text ? json_loads(answer.text, 0, NULL) : NULL;
    return answer;
}

static void clear(struct answer *answer)
{
    json_decref(answer->json);
    free(answer->text);
    *answer = (struct answer){0};
}

static struct answer get(const struct web *w, const char *path)
{
    return request(w, "GET", path, NULL, NULL);
}

static struct answer post(const struct web *w, const char *path, const char *body)
{
    return request(w, "POST", path, body, "Content-Type: application/json");
}

static const char *text_at(const struct answer *answer, const char *key)
{
    const char *text = json_string_value(json_object_get(answer->json, key));

    if (!text)
        fail_msg("no text '%s' in %s", key, answer->text);
    return text;
}

/* The request fails with this status and an error in JSON that has @words in it. */
static void refused(struct answer answer, long status, const char *words)
{
    assert_int_equal(answer.status, status);
    if (!strstr(text_at(&answer, "error"), words))
        fail_msg("no '%s' in: %s", words, answer.text);
    clear(&answer);
}

/* A frame of one second, heard now, that ends at @t1_s seconds. */
static void add_frame(struct web *w, uint64_t t1_s)
{
    fixture_result(&w->result, &w->seed, (t1_s - 1) * SECOND, t1_s * SECOND, 2, 2);
    w->result.wall_ns = cb_clock_wall_ns();
    fixture_put(w->f->store, &w->start, ++w->seq, &w->result);
    cb_notify_bump(&w->notify);
}

static void begin(struct web *w, char *ret_id, size_t size)
{
    struct answer answer = post(w, "/api/v1/tests", BEGIN_BODY);

    assert_int_equal(answer.status, 201);
    assert_string_equal(text_at(&answer, "machine"), "node1");
    (void)snprintf(ret_id, size, "%s", text_at(&answer, "test"));
    clear(&answer);
}

static struct answer end_test(struct web *w, const char *id, const char *times)
{
    char path[128];
    char body[512];

    (void)snprintf(path, sizeof(path), "/api/v1/tests/%s/end", id);
    (void)snprintf(body, sizeof(body), "{\"id\":\"%s\",\"exit_code\":0,%s}", FIXTURE_ID_A, times);
    return post(w, path, body);
}

static struct answer get_recap(struct web *w, const char *id, const char *query)
{
    char path[128];

    (void)snprintf(path, sizeof(path), "/api/v1/tests/%s/recap%s", id, query);
    return get(w, path);
}

static void tells_its_health(void **state)
{
    struct answer answer = get(*state, "/healthz");

    assert_int_equal(answer.status, 200);
    assert_string_equal(text_at(&answer, "status"), "ok");
    clear(&answer);
}

static void refuses_what_it_does_not_know_and_says_why(void **state)
{
    struct web *w = *state;
    char *large = malloc(70001);

    assert_non_null(large);
    memset(large, ' ', 70000);
    large[70000] = '\0';
    refused(get(w, "/"), 404, "/api/v1/");
    refused(get(w, "/api/v1/tests//recap"), 404, "no such path");
    refused(get(w, "/api/v1/tests"), 405, "use POST");
    refused(request(w, "PUT", "/healthz", NULL, NULL), 405, "use ");
    refused(request(w, "GET", "/healthz", NULL, "Host: evil.example:80"), 403, "evil.example");
    refused(request(w, "POST", "/api/v1/tests", BEGIN_BODY, "Content-Type: text/plain"), 400,
            "application/json");
    refused(post(w, "/api/v1/tests", large), 413, "65536");
    refused(post(w, "/api/v1/tests", "{"), 400, "JSON");
    refused(post(w, "/api/v1/tests", "[]"), 400, "object");
    refused(post(w, "/api/v1/tests", "{}"), 400, "name");
    refused(post(w, "/api/v1/tests", "{\"name\":\"a\",\"name\":\"b\"}"), 400, "JSON");
    refused(post(w, "/api/v1/tests", "{\"name\":7,\"boot_id\":\"x\"}"), 400, "name");
    refused(post(w, "/api/v1/tests", "{\"name\":\"a\",\"boot_id\":\"x\",\"args\":[1]}"), 400,
            "args");
    refused(post(w, "/api/v1/tests", "{\"name\":\"a\",\"boot_id\":\"x\",\"image\":\"i\"}"), 404,
            "cbsensor");
    refused(get(w, "/api/v1/tests/00/recap"), 404, "00");
    refused(get(w, "/api/v1/tests/00/recap?wait=31"), 400, "wait");
    refused(get(w, "/api/v1/tests/00/recap?wait=-1"), 400, "wait");
    refused(get(w, "/api/v1/tests/00/recap?idle=some"), 400, "idle");
    refused(get(w, "/api/v1/recaps?last=1e3"), 400, "last");
    refused(get(w, "/api/v1/power"), 404, "no frames");
    free(large);
}

static void a_silent_sensor_is_not_one_that_reports(void **state)
{
    struct web *w = *state;

    /* It said hello long ago, in 1970, and sent frames of a second until then. */
    fixture_result(&w->result, &w->seed, 1 * SECOND, 2 * SECOND, 1, 1);
    w->result.wall_ns = 5;
    fixture_put(w->f->store, &w->start, 1, &w->result);
    refused(post(w, "/api/v1/tests", BEGIN_BODY), 404, "silent");
}

static void a_test_goes_from_begin_over_end_to_its_recap(void **state)
{
    struct web *w = *state;
    struct answer answer;
    const json_t *phase;
    const json_t *domain;
    char id[64];

    add_frame(w, 11);
    begin(w, id, sizeof(id));
    refused(get_recap(w, id, ""), 409, "not been told");
    refused(end_test(w, id, "\"begin_ns\":5,\"end_ns\":5"), 400, "end_ns");
    refused(end_test(w, id, "\"begin_ns\":5,\"end_ns\":9,\"warmup_ns\":3"), 400, "warmup_ns");
    refused(end_test(w, id, "\"begin_ns\":-5,\"end_ns\":9"), 400, "begin_ns");
    answer = end_test(w, id,
                      "\"begin_ns\":10500000000,\"warmup_ns\":null,\"execution_ns\":null,"
                      "\"end_ns\":12250000000");
    assert_int_equal(answer.status, 200);
    clear(&answer);
    answer = end_test(w, id, "\"begin_ns\":10500000000,\"end_ns\":12250000000");
    assert_int_equal(answer.status, 200); /* the same again */
    clear(&answer);
    refused(end_test(w, id, "\"begin_ns\":10500000000,\"end_ns\":12250000001"), 409, "already");
    answer = get_recap(w, id, "");
    assert_int_equal(answer.status, 202);
    assert_int_equal(json_integer_value(json_object_get(answer.json, "covered_ns")), 11 * SECOND);
    assert_int_equal(json_integer_value(json_object_get(answer.json, "end_ns")), 12250000000);
    clear(&answer);
    add_frame(w, 12);
    add_frame(w, 13);
    answer = get_recap(w, id, "?idle=equal&wait=5");
    assert_int_equal(answer.status, 200);
    assert_string_equal(text_at(&answer, "name"), "sleep");
    assert_string_equal(text_at(&answer, "idle_policy"), "equal");
    assert_string_equal(text_at(&answer, "source"), "perf");
    phase = json_array_get(json_object_get(answer.json, "phases"), 0);
    assert_true(json_real_value(json_object_get(phase, "covered_seconds")) == 1.75);
    domain = json_array_get(json_object_get(phase, "domains"), 0);
    assert_int_equal(json_integer_value(json_object_get(domain, "energy_uj")),
                     json_integer_value(json_object_get(domain, "dynamic_uj")) +
                         json_integer_value(json_object_get(domain, "others_uj")) +
                         json_integer_value(json_object_get(domain, "system_uj")) +
                         json_integer_value(json_object_get(domain, "idle_uj")) +
                         json_integer_value(json_object_get(domain, "unattributed_uj")));
    assert_true(json_integer_value(json_object_get(domain, "idle_share_uj")) > 0);
    clear(&answer);
    refused(request(w, "DELETE", "/api/v1/tests/0", NULL, NULL), 404, "no test");
    answer = get(w, "/api/v1/recaps?machine=node1&name=sleep");
    assert_int_equal(json_array_size(json_object_get(answer.json, "recaps")), 1);
    clear(&answer);
    answer = get(w, "/api/v1/recaps?name=other");
    assert_int_equal(json_array_size(json_object_get(answer.json, "recaps")), 0);
    clear(&answer);
}

static void the_arguments_of_a_test_have_a_limit(void **state)
{
    static char body[20000];
    struct web *w = *state;
    size_t n;

    add_frame(w, 11);
    n = (size_t)snprintf(body, sizeof(body), "{\"name\":\"a\",\"boot_id\":\"%s\",\"args\":[\"",
                         FIXTURE_BOOT);
    memset(body + n, 'x', 16384);
    memcpy(body + n + 16384, "\"]}", 4);
    refused(post(w, "/api/v1/tests", body), 400, "args: more than 16384 bytes");
}

static void a_test_can_be_given_up(void **state)
{
    struct web *w = *state;
    struct answer answer;
    char path[128];
    char id[64];

    add_frame(w, 11);
    begin(w, id, sizeof(id));
    (void)snprintf(path, sizeof(path), "/api/v1/tests/%s", id);
    for (int i = 0; i < 2; i++) {
        answer = request(w, "DELETE", path, NULL, NULL);
        assert_int_equal(answer.status, 200);
        clear(&answer);
    }
    refused(end_test(w, id, "\"begin_ns\":5,\"end_ns\":9"), 409, "given up");
    refused(get_recap(w, id, ""), 409, "given up");
}

struct waiter {
    struct web *w;
    char id[64];
    long status;
};

static void *wait_for_recap(void *context)
{
    struct waiter *waiter = context;
    struct answer answer = get_recap(waiter->w, waiter->id, "?wait=20");

    waiter->status = answer.status;
    clear(&answer);
    return NULL;
}

static void waiting_for_a_recap_blocks_nobody_and_ends_when_it_is_there(void **state)
{
    struct web *w = *state;
    struct waiter waiter = {.w = w};
    struct answer answer;
    pthread_t thread;
    uint64_t begun;

    add_frame(w, 11);
    begin(w, waiter.id, sizeof(waiter.id));
    answer = end_test(w, waiter.id, "\"begin_ns\":10500000000,\"end_ns\":11500000000");
    clear(&answer);
    begun = cb_clock_boot_ns();
    answer = get_recap(w, waiter.id, "?wait=1");
    assert_int_equal(answer.status, 202);
    clear(&answer);
    assert_true(cb_clock_boot_ns() - begun >= SECOND);
    begun = cb_clock_boot_ns();
    assert_int_equal(pthread_create(&thread, NULL, wait_for_recap, &waiter), 0);
    (void)usleep(200000);
    answer = get(w, "/api/v1/recaps");
    assert_int_equal(answer.status, 200);
    clear(&answer);
    add_frame(w, 12);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(waiter.status, 200);
    assert_true(cb_clock_boot_ns() - begun < 10 * SECOND);
}

static void the_keeper_makes_recaps_nobody_asks_for(void **state)
{
    struct web *w = *state;
    struct cb_keeper_options options = {.database = w->f->path, .notify = &w->notify};
    struct cb_keeper *keeper = NULL;
    struct answer answer;
    size_t n = 0;
    char id[64];

    add_frame(w, 11);
    begin(w, id, sizeof(id));
    assert_int_equal(cb_keeper_start(&options, &keeper, NULL), 0);
    answer = end_test(w, id, "\"begin_ns\":10500000000,\"end_ns\":11500000000");
    clear(&answer);
    add_frame(w, 12);
    for (int i = 0; i < 100 && n == 0; i++) {
        (void)usleep(50000);
        answer = get(w, "/api/v1/recaps");
        n = json_array_size(json_object_get(answer.json, "recaps"));
        clear(&answer);
    }
    assert_int_equal(n, 1);
    cb_notify_stop(&w->notify);
    keeper = cb_keeper_stop(keeper);
}

/* Recaps of a megabyte. */
static void put_large_recaps(struct web *w, size_t n)
{
    static char document[1 << 20];

    memset(document, 'x', sizeof(document) - 1);
    memcpy(document, "{\"pad\":\"", strlen("{\"pad\":\""));
    memcpy(document + sizeof(document) - 3, "\"}", 3);
    assert_int_equal(cb_store_begin(w->f->store, NULL), 0);
    for (size_t i = 0; i < n; i++) {
        struct cb_store_test test = {.boot = w->start.boot};

        (void)snprintf(test.id, sizeof(test.id), "large%zu", i);
        assert_int_equal(cb_store_put_recap(w->f->store, &test, i, document, NULL, 0, NULL), 0);
    }
    assert_int_equal(cb_store_commit(w->f->store, NULL), 0);
}

static void a_list_of_recaps_has_its_limit(void **state)
{
    struct web *w = *state;
    struct answer answer;

    put_large_recaps(w, 34);
    refused(get(w, "/api/v1/recaps?last=1000"), 400, "above 32 MiB: ask for fewer recaps");
    answer = get(w, "/api/v1/recaps?last=3");
    assert_int_equal(answer.status, 200);
    assert_int_equal(json_array_size(json_object_get(answer.json, "recaps")), 3);
    clear(&answer);
    answer = get(w, "/api/v1/recaps?name=nobody");
    assert_string_equal(answer.text, "{\"recaps\":[]}");
    clear(&answer);
}

/* An ended test that the frames cover, told without HTTP. */
static void put_ripe_test(struct web *w, const char *id)
{
    struct cb_store_test test = {.boot = w->start.boot,
                                 .begin_ns = 10 * SECOND,
                                 .end_ns = 11 * SECOND,
                                 .ended_wall_ns = cb_clock_wall_ns()};

    (void)snprintf(test.id, sizeof(test.id), "%s", id);
    (void)snprintf(test.container_id, sizeof(test.container_id), FIXTURE_ID_A);
    assert_int_equal(cb_store_put_test(w->f->store, &test, "[]", NULL), 0);
    assert_int_equal(cb_store_end_test(w->f->store, &test, NULL), 0);
}

static void a_recap_that_cannot_be_made_holds_up_no_other(void **state)
{
    struct web *w = *state;
    struct cb_keeper_options options = {.database = w->f->path, .notify = &w->notify};
    struct cb_keeper *keeper = NULL;
    cb_auto_free char *document = NULL;
    sqlite3 *db = NULL;
    int r = -1;

    assert_int_equal(sqlite3_open(w->f->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db,
                                  "CREATE TRIGGER never BEFORE INSERT ON recaps WHEN NEW.test = "
                                  "'1' BEGIN SELECT RAISE(ABORT, 'never'); END",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    (void)sqlite3_close(db);
    add_frame(w, 11);
    put_ripe_test(w, "1");
    put_ripe_test(w, "2");
    assert_int_equal(cb_keeper_start(&options, &keeper, NULL), 0);
    for (int i = 0; i < 100 && r < 0; i++) {
        (void)usleep(20000);
        r = cb_store_recap(w->f->store, "2", &document, NULL);
    }
    assert_int_equal(r, 0);
    cb_notify_stop(&w->notify);
    keeper = cb_keeper_stop(keeper);
}

static void lists_machines_and_their_power(void **state)
{
    struct web *w = *state;
    struct answer answer;
    const json_t *machine;
    const json_t *tick;
    const json_t *domain;

    for (uint64_t i = 11; i <= 20; i++)
        add_frame(w, i);
    answer = get(w, "/api/v1/machines");
    machine = json_array_get(json_object_get(answer.json, "machines"), 0);
    assert_string_equal(json_string_value(json_object_get(machine, "machine")), "node1");
    assert_string_equal(json_string_value(json_object_get(machine, "source")), "perf");
    assert_int_equal(json_integer_value(json_object_get(machine, "containers")), 2);
    assert_int_equal(json_integer_value(json_object_get(machine, "last_t1_ns")), 20 * SECOND);
    clear(&answer);
    answer = get(w, "/api/v1/power?last=3");
    assert_int_equal(json_array_size(json_object_get(answer.json, "ticks")), 3);
    tick = json_array_get(json_object_get(answer.json, "ticks"), 2);
    assert_int_equal(json_integer_value(json_object_get(tick, "t1_ns")), 20 * SECOND);
    domain = json_array_get(json_object_get(tick, "domains"), 0);
    assert_int_equal(json_array_size(json_object_get(domain, "targets")), 2);
    clear(&answer);
    answer = get(w, "/api/v1/power?container=beta&machine=node1");
    assert_int_equal(json_array_size(json_object_get(answer.json, "ticks")), 10);
    tick = json_array_get(json_object_get(answer.json, "ticks"), 0);
    domain = json_array_get(json_object_get(tick, "domains"), 0);
    assert_int_equal(json_array_size(json_object_get(domain, "targets")), 1);
    clear(&answer);
    answer = get(w, "/api/v1/power?container=bbbbbbbb");
    assert_int_equal(json_array_size(json_object_get(answer.json, "ticks")), 10);
    clear(&answer);
    answer = get(w, "/api/v1/power?container=nobody");
    assert_int_equal(json_array_size(json_object_get(answer.json, "ticks")), 0);
    clear(&answer);
    refused(get(w, "/api/v1/power?machine=other"), 404, "other");
}

static void power_shares_idle_out_when_asked(void **state)
{
    static const char *const policies[] = {"none", "proportional", "equal"};
    struct web *w = *state;

    add_frame(w, 11);
    for (int i = 0; i < 3; i++) {
        const struct cb_result_domain *domain = &w->result.domains[0];
        uint64_t shares[2];
        char path[64];
        struct answer answer;
        const json_t *json;

        (void)snprintf(path, sizeof(path), "/api/v1/power?idle=%s", policies[i]);
        answer = get(w, path);
        assert_string_equal(text_at(&answer, "idle_policy"), policies[i]);
        json = json_array_get(json_object_get(answer.json, "ticks"), 0);
        json = json_array_get(json_object_get(json, "domains"), 0);
        for (size_t t = 0; t < 2; t++)
            shares[t] = (uint64_t)json_integer_value(json_object_get(
                json_array_get(json_object_get(json, "targets"), t), "idle_share_uj"));
        if (i == 0)
            assert_int_equal(shares[0] + shares[1], 0);
        else if (i == 2)
            assert_true(shares[0] == domain->idle_uj / 2 && shares[0] == shares[1]);
        else
            assert_true(shares[0] > 0 && shares[0] + shares[1] < domain->idle_uj);
        clear(&answer);
    }
    refused(get(w, "/api/v1/power?idle=half"), 400, "idle");
}

static void tells_what_containers_use(void **state)
{
    struct web *w = *state;
    uint32_t ids[] = {0, 1};
    uint64_t values[] = {5, 4096};
    const struct cb_usage usage = {
        .n_columns = 1, .n_targets = 2, .targets = ids, .values = values};
    struct cb_store_usage row = {.frame = 1,
                                 .start = w->start.id,
                                 .boot = w->start.boot,
                                 .t0_ns = 10 * SECOND,
                                 .t1_ns = 11 * SECOND,
                                 .wall_ns = cb_clock_wall_ns(),
                                 .names = "memory_bytes"};
    uint8_t *bytes = NULL;
    struct answer answer;
    const json_t *json;

    add_frame(w, 11);
    assert_int_equal(cb_usage_pack(&usage, &bytes, &row.size, NULL), 0);
    row.bytes = bytes;
    assert_int_equal(cb_store_put_usage(w->f->store, &row, 1, NULL), 0);
    free(bytes);
    answer = get(w, "/api/v1/metrics?container=alpha");
    assert_int_equal(answer.status, 200);
    json = json_array_get(json_object_get(answer.json, "ticks"), 0);
    assert_int_equal(json_integer_value(json_object_get(json, "t1_ns")), 11 * SECOND);
    json = json_object_get(json, "targets");
    assert_int_equal(json_array_size(json), 1);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(json, 0), "memory_bytes")),
                     4096);
    clear(&answer);
    answer = get(w, "/api/v1/metrics?container=beta");
    assert_int_equal(json_array_size(json_object_get(answer.json, "ticks")), 0);
    clear(&answer);
    refused(get(w, "/api/v1/metrics?machine=other"), 404, "other");
}

static void the_metrics_are_the_totals(void **state)
{
    struct web *w = *state;
    struct answer answer;
    struct cb_store_target target = {
        .start = w->start.id, .target = 2, .known = true, .container_id = "b", .image = "i\\x"};
    uint64_t energy;
    char line[256];

    (void)snprintf(target.name, sizeof(target.name), "a \"name\"\n");
    assert_int_equal(cb_store_put_target(w->f->store, &target, NULL, NULL), 0);
    add_frame(w, 11);
    assert_int_equal(
        cb_totals_add(w->totals, w->f->store, "node1", w->start.id, 1, &w->result, NULL), 0);
    energy = w->result.domains[0].energy_uj;
    answer = get(w, "/metrics");
    assert_int_equal(answer.status, 200);
    (void)snprintf(
        line, sizeof(line),
        "\ncb_node_energy_joules_total{machine=\"node1\",socket=\"0\",domain=\"package\","
        "source=\"perf\"} %llu.%06llu\n",
        (unsigned long long)(energy / 1000000), (unsigned long long)(energy % 1000000));
    if (!strstr(answer.text, line))
        fail_msg("no %s in %s", line, answer.text);
    assert_non_null(strstr(answer.text, "container_name=\"a \\\"name\\\"\\n\",image=\"i\\\\x\""));
    assert_non_null(strstr(answer.text, "# TYPE cb_node_energy_joules_total counter\n"));
    assert_non_null(strstr(answer.text, "cb_formula_conservation_violations_total"));
    clear(&answer);
}

static void the_metrics_say_what_the_sensor_costs_and_cannot_read(void **state)
{
    struct web *w = *state;
    const struct cb_store_counts counts = {.frames = 1, .self_cpu_ns = 5, .self_uj = 1500000};
    struct cb_unreadable unreadable = {.n = 7, .n_names = 2, .names = {"rapl", "perf:/a\"b"}};
    struct answer answer;

    add_frame(w, 11);
    assert_int_equal(
        cb_totals_add(w->totals, w->f->store, "node1", w->start.id, 1, &w->result, NULL), 0);
    assert_int_equal(cb_store_add_counts(w->f->store, w->start.machine, &counts, NULL), 0);
    answer = get(w, "/metrics");
    assert_non_null(strstr(answer.text,
                           "\ncb_sensor_estimated_energy_joules_total{machine=\"node1\""
                           "} 1.500000\n"));
    assert_null(strstr(answer.text, "\ncb_sensor_unreadable_sources{"));
    clear(&answer);
    cb_totals_unreadable(w->totals, "node1", &unreadable);
    cb_totals_unreadable(w->totals, "nobody", &unreadable);
    answer = get(w, "/metrics");
    assert_non_null(strstr(answer.text, "\ncb_sensor_unreadable_sources{machine=\"node1\"} 7\n"));
    assert_non_null(strstr(answer.text, "\ncb_sensor_unreadable_source_info{machine=\"node1\","
                                        "source=\"perf:/a\\\"b\"} 1\n"));
    assert_null(strstr(answer.text, "nobody"));
    clear(&answer);
}

/* ---- recaps as powerapi-g5k's listener is told them ---- */

/* Frames of 0.7 s that end up to 14 s after the epoch second 1700000000. */
static void add_old_frames(struct web *w)
{
    for (uint64_t i = 0; i < 20; i++) {
        fixture_result(&w->result, &w->seed, i * 7 * SECOND / 10, (i + 1) * 7 * SECOND / 10, 2, 2);
        fixture_put(w->f->store, &w->start, ++w->seq, &w->result);
    }
}

/* Times are seconds after 1700000000. */
static struct answer post_recap(const struct web *w, const char *name, const char *begin,
                                const char *warmup, const char *execution, const char *end)
{
    char path[512];

    (void)snprintf(path, sizeof(path),
                   "/rapls2/node1?name=%s&begin=17000000%s&beginwarmup=17000000%s"
                   "&beginexecution=17000000%s&end=17000000%s&id=" FIXTURE_ID_A,
                   name, begin, warmup, execution, end);
    return request(w, "POST", path, NULL, NULL);
}

static uint64_t uj_at(const struct answer *answer, const char *key)
{
    const json_t *joules = json_object_get(answer->json, key);

    if (!json_is_real(joules))
        fail_msg("no joules '%s' in: %s", key, answer->text);
    return (uint64_t)(json_real_value(joules) * 1e6 + 0.5);
}

static void takes_a_recap_as_the_listener_is_told_it(void **state)
{
    static const char *const names[] = {"begin", "beginwarmup", "beginexecution", "end"};
    struct web *w = *state;
    struct answer answer;
    struct answer again;

    add_old_frames(w);
    answer = post_recap(w, "sleep", "03", "04", "05.5", "09");
    assert_int_equal(answer.status, 200);
    assert_string_equal(text_at(&answer, "name"), "sleep");
    assert_string_equal(text_at(&answer, "id"), FIXTURE_ID_A);
    assert_string_equal(text_at(&answer, "machine"), "node1");
    assert_string_equal(text_at(&answer, names[0]), "2023-11-14T22:13:23.000Z");
    assert_string_equal(text_at(&answer, names[1]), "2023-11-14T22:13:24.000Z");
    assert_string_equal(text_at(&answer, names[2]), "2023-11-14T22:13:25.500Z");
    assert_string_equal(text_at(&answer, names[3]), "2023-11-14T22:13:29.000Z");
    assert_true(json_real_value(json_object_get(answer.json, "warmup time")) == 1.5);
    assert_true(json_real_value(json_object_get(answer.json, "execution time")) == 3.5);
    assert_int_equal(uj_at(&answer, "execution_powers_PKG_0"),
                     uj_at(&answer, "execution_container_dynamic_PKG_0") +
                         uj_at(&answer, "execution_others_PKG_0") +
                         uj_at(&answer, "execution_system_PKG_0") +
                         uj_at(&answer, "execution_idle_PKG_0") +
                         uj_at(&answer, "execution_unattributed_PKG_0"));
    assert_true(uj_at(&answer, "execution_container_dynamic_DRAM_0") > 0);
    assert_null(json_object_get(answer.json, "exit_code"));
    again = post_recap(w, "sleep", "03", "04", "05.5", "09.0");
    assert_string_equal(text_at(&again, "test"), text_at(&answer, "test"));
    clear(&again);
    clear(&answer);
    answer = get(w, "/api/v1/recaps?machine=node1&name=sleep&idle=equal");
    assert_int_equal(json_array_size(json_object_get(answer.json, "recaps")), 1);
    clear(&answer);
}

/* The frames' wall clock is slewed against BOOTTIME: 120 ns a frame. */
static void what_was_told_comes_back_as_it_was_told(void **state)
{
    struct web *w = *state;
    struct answer answer;

    for (uint64_t i = 0; i < 20; i++) {
        fixture_result(&w->result, &w->seed, i * 7 * SECOND / 10, (i + 1) * 7 * SECOND / 10, 2, 2);
        w->result.wall_ns += i * 120;
        fixture_put(w->f->store, &w->start, ++w->seq, &w->result);
    }
    answer = post_recap(w, "told", "03", "04", "05", "09");
    assert_int_equal(answer.status, 200);
    assert_true(json_real_value(json_object_get(answer.json, "warmup time")) == 1);
    assert_true(json_real_value(json_object_get(answer.json, "execution time")) == 4);
    assert_string_equal(text_at(&answer, "beginexecution"), "2023-11-14T22:13:25.000Z");
    clear(&answer);
    answer = get(w, "/api/v1/recaps");
    assert_non_null(strstr(answer.text, "\"seconds\":4.0,"));
    assert_non_null(strstr(answer.text, "\"seconds\":1.0,"));
    clear(&answer);
    /* Only the warm-up was marked: what was not is the begin, as listener2.sh says it. */
    answer = post_recap(w, "warm", "03", "04", "03", "09");
    assert_string_equal(text_at(&answer, "beginwarmup"), "2023-11-14T22:13:24.000Z");
    assert_string_equal(text_at(&answer, "beginexecution"), "2023-11-14T22:13:23.000Z");
    assert_true(json_real_value(json_object_get(answer.json, "warmup time")) == 5);
    assert_true(json_real_value(json_object_get(answer.json, "execution time")) == 0);
    clear(&answer);
    answer = post_recap(w, "short", "03", "03", "03", "03");
    assert_int_equal(answer.status, 200);
    assert_string_equal(text_at(&answer, "end"), "2023-11-14T22:13:23.000Z");
    assert_true(json_real_value(json_object_get(answer.json, "execution time")) == 0);
    assert_null(json_object_get(answer.json, "execution_powers_PKG_0"));
    clear(&answer);
}

/* Where a frame begins, where one ends and the next begins, where the last one ends. */
static void a_moment_between_two_frames_is_a_recap_of_no_joules(void **state)
{
    static const char *const moments[][2] = {
        {"00", "2023-11-14T22:13:20.000Z"},
        {"07", "2023-11-14T22:13:27.000Z"},
        {"14", "2023-11-14T22:13:34.000Z"},
    };
    struct web *w = *state;

    add_old_frames(w);
    for (size_t i = 0; i < sizeof(moments) / sizeof(moments[0]); i++) {
        const char *at = moments[i][0];
        struct answer answer = post_recap(w, "short", at, at, at, at);

        assert_int_equal(answer.status, 200);
        assert_string_equal(text_at(&answer, "end"), moments[i][1]);
        assert_true(json_real_value(json_object_get(answer.json, "execution time")) == 0);
        assert_null(json_object_get(answer.json, "execution_powers_PKG_0"));
        clear(&answer);
    }
}

struct poster {
    const struct web *w;
    pthread_barrier_t *all;
    char name[16];
    struct answer answer;
};

static void *post_at_once(void *context)
{
    struct poster *poster = context;

    (void)pthread_barrier_wait(poster->all);
    poster->answer = post_recap(poster->w, poster->name, "03", "04", "05.5", "09");
    return NULL;
}

static void the_same_recap_posted_at_once_is_one_test(void **state)
{
    enum { N = 8, ROUNDS = 10 };
    struct web *w = *state;
    struct poster posters[N];
    pthread_barrier_t all;
    pthread_t threads[N];

    add_old_frames(w);
    assert_int_equal(pthread_barrier_init(&all, NULL, N), 0);
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < N; i++) {
            posters[i] = (struct poster){.w = w, .all = &all};
            (void)snprintf(posters[i].name, sizeof(posters[i].name), "same%d", round);
            assert_int_equal(pthread_create(&threads[i], NULL, post_at_once, &posters[i]), 0);
        }
        for (int i = 0; i < N; i++)
            assert_int_equal(pthread_join(threads[i], NULL), 0);
        for (int i = 0; i < N; i++) {
            if (posters[i].answer.status != 200)
                fail_msg("%ld: %s", posters[i].answer.status, posters[i].answer.text);
            assert_string_equal(text_at(&posters[i].answer, "test"),
                                text_at(&posters[0].answer, "test"));
        }
        for (int i = 0; i < N; i++)
            clear(&posters[i].answer);
    }
    (void)pthread_barrier_destroy(&all);
}

static void posted_times_that_touch_sum_to_the_whole(void **state)
{
    struct web *w = *state;
    struct answer whole;
    struct answer first;
    struct answer second;
    struct answer both;

    add_old_frames(w);
    whole = post_recap(w, "whole", "03", "03", "03", "09");
    first = post_recap(w, "first", "03", "03", "03", "05.123456789");
    second = post_recap(w, "second", "05.123456789", "05.123456789", "05.123456789", "09");
    both = post_recap(w, "both", "03", "03", "05.123456789", "09");
    assert_null(json_object_get(whole.json, "warmup_powers_PKG_0"));
    for (int i = 0; i < 4; i++) {
        static const char *const what[] = {"powers_PKG_0", "container_dynamic_PKG_0",
                                           "powers_DRAM_0", "idle_DRAM_0"};
        char execution[64];
        char warmup[64];

        (void)snprintf(execution, sizeof(execution), "execution_%s", what[i]);
        (void)snprintf(warmup, sizeof(warmup), "warmup_%s", what[i]);
        assert_int_equal(uj_at(&whole, execution),
                         uj_at(&first, execution) + uj_at(&second, execution));
        assert_int_equal(uj_at(&both, warmup), uj_at(&first, execution));
        assert_int_equal(uj_at(&both, execution), uj_at(&second, execution));
    }
    clear(&whole);
    clear(&first);
    clear(&second);
    clear(&both);
}

static void a_recap_that_cannot_be_is_refused_with_the_reason(void **state)
{
    static const char good[] = "/rapls2/node1?name=a&begin=1700000003&beginwarmup=1700000003"
                               "&beginexecution=1700000003&end=1700000009&id=00";
    struct web *w = *state;
    char path[512];

    refused(request(w, "POST", good, NULL, NULL), 404, "no data");
    add_old_frames(w);
    refused(request(w, "POST",
                    "/rapls2/other?name=a&begin=1&beginwarmup=1&beginexecution=1&end=2"
                    "&id=0",
                    NULL, NULL),
            404, "other");
    refused(request(w, "POST", "/rapls2/node1", NULL, NULL), 400, "name");
    refused(request(w, "POST", "/api/node1", NULL, NULL), 404, "no such path");
    refused(request(w, "POST", "/metrics", NULL, NULL), 405, "not for POST: use GET, HEAD");
    refused(get(w, "/healthz%00x"), 400, "byte 0");
    refused(get(w, "/healthz%00"), 400, "byte 0");
    refused(request(w, "POST", "/rapls2/node1/x", NULL, NULL), 404, "no such path");
    refused(get(w, "/rapls2/node1"), 405, "use ");
    refused(request(w, "POST", good, NULL, "Origin: http://localhost"), 403, "browser");
    (void)snprintf(path, sizeof(path), "%s&end=1700000010", good);
    refused(request(w, "POST", path, NULL, NULL), 400, "end: stands there 2 times");
    (void)snprintf(path, sizeof(path), "%s&idle=some", good);
    refused(request(w, "POST", path, NULL, NULL), 400, "idle");
    refused(post_recap(w, "a%00b", "03", "03", "03", "09"), 400, "name");
    refused(post_recap(w, "a%ff", "03", "03", "03", "09"), 400, "name");
    refused(post_recap(w, "", "03", "03", "03", "09"), 400, "name: is missing");
    refused(post_recap(w, "a", "03", "03", "03", "02"), 400, "end: lies before begin");
    refused(post_recap(w, "a", "05", "04", "05", "09"), 400, "beginwarmup");
    refused(post_recap(w, "a", "03", "05", "04", "09"), 400, "beginexecution");
    refused(post_recap(w, "a", "03", "03", "10", "09"), 400, "beginexecution");
    refused(post_recap(w, "a", "03x", "03", "03", "09"), 400, "begin: '1700000003x'");
    refused(post_recap(w, "a", "50", "50", "50", "60"), 404, "no data");
    refused(request(w, "POST",
                    "/rapls2/node1?name=a&begin=1700000003&beginwarmup=1700000003"
                    "&beginexecution=1700000003&end=4000000000&id=0",
                    NULL, NULL),
            400, "future");
}

static void what_is_not_covered_yet_is_kept_for_later(void **state)
{
    struct web *w = *state;
    struct answer answer;
    char id[64];

    add_old_frames(w);
    answer = post_recap(w, "late", "03", "03", "03", "15");
    assert_int_equal(answer.status, 202);
    (void)snprintf(id, sizeof(id), "%s", text_at(&answer, "test"));
    clear(&answer);
    fixture_result(&w->result, &w->seed, 14 * SECOND, 16 * SECOND, 2, 2);
    fixture_put(w->f->store, &w->start, ++w->seq, &w->result);
    answer = get_recap(w, id, "");
    assert_int_equal(answer.status, 200);
    clear(&answer);
}

static void a_port_in_use_is_named(void **state)
{
    struct web *w = *state;
    struct cb_err err = {0};
    char text[64];
    bool loopback;
    int fd = -1;

    assert_int_equal(cb_http_listen(w->address, &fd, &loopback, text, &err), -98);
    assert_non_null(strstr(err.text, w->address));
    assert_non_null(strstr(err.text, "--http"));
    assert_int_equal(cb_http_listen("9771", &fd, &loopback, text, &err), -22);
    assert_int_equal(cb_http_listen("127.0.0.1:port", &fd, &loopback, text, &err), -22);
    assert_int_equal(cb_http_listen("127.0.0.1:", &fd, &loopback, text, &err), -22);
    assert_int_equal(cb_http_listen("127.0.0.1:70000", &fd, &loopback, text, &err), -22);
    assert_int_equal(fd, -1);
    assert_int_equal(cb_http_listen("0.0.0.0:0", &fd, &loopback, text, &err), 0);
    assert_false(loopback);
    (void)close(fd);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(tells_its_health),
        TEST(refuses_what_it_does_not_know_and_says_why),
        TEST(a_silent_sensor_is_not_one_that_reports),
        TEST(a_test_goes_from_begin_over_end_to_its_recap),
        TEST(the_arguments_of_a_test_have_a_limit),
        TEST(a_test_can_be_given_up),
        TEST(waiting_for_a_recap_blocks_nobody_and_ends_when_it_is_there),
        TEST(the_keeper_makes_recaps_nobody_asks_for),
        TEST(a_recap_that_cannot_be_made_holds_up_no_other),
        TEST(a_list_of_recaps_has_its_limit),
        TEST(lists_machines_and_their_power),
        TEST(power_shares_idle_out_when_asked),
        TEST(tells_what_containers_use),
        TEST(the_metrics_are_the_totals),
        TEST(the_metrics_say_what_the_sensor_costs_and_cannot_read),
        TEST(takes_a_recap_as_the_listener_is_told_it),
        TEST(what_was_told_comes_back_as_it_was_told),
        TEST(a_moment_between_two_frames_is_a_recap_of_no_joules),
        TEST(the_same_recap_posted_at_once_is_one_test),
        TEST(posted_times_that_touch_sum_to_the_whole),
        TEST(a_recap_that_cannot_be_is_refused_with_the_reason),
        TEST(what_is_not_covered_yet_is_kept_for_later),
        TEST(a_port_in_use_is_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
