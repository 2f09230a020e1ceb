/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <curl/curl.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "formula/http.h"
#include "formula/keeper.h"
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
    refused(get(w, "/api/v1/tests"), 405, "methods");
    refused(request(w, "PUT", "/healthz", NULL, NULL), 405, "methods");
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
        TEST(a_test_can_be_given_up),
        TEST(waiting_for_a_recap_blocks_nobody_and_ends_when_it_is_there),
        TEST(the_keeper_makes_recaps_nobody_asks_for),
        TEST(lists_machines_and_their_power),
        TEST(the_metrics_are_the_totals),
        TEST(a_port_in_use_is_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
