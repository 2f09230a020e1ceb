/* SPDX-License-Identifier: Apache-2.0 */
/* test_store_influxdb.c - what a server is asked and what its answers mean. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "formula/store_influxdb.h"
#include "lib/err.h"
#include "tests/support/fake_server.h"
#include "tests/support/stream_fixture.h"

/* A server that answers a batch by what its lines say. */
static struct {
    unsigned requests, lines; /* lines that were taken */
    size_t lines_max;         /* above: 413; 0: no limit */
    int status;               /* not 0: for everything */
    const char *headers;
    bool has_database;
    char last[65536];
} server_state;

static void gunzip(const char *bytes, char *ret_text, size_t size)
{
    z_stream z = {.next_in = (Bytef *)(uintptr_t)bytes, .avail_in = 65536};

    z.next_out = (Bytef *)ret_text;
    z.avail_out = (uInt)(size - 1);
    assert_int_equal(inflateInit2(&z, 15 + 16), Z_OK);
    assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
    ret_text[z.total_out] = '\0';
    (void)inflateEnd(&z);
}

static size_t count_lines(const char *text)
{
    size_t n = 0;

    for (; *text; text++)
        n += *text == '\n';
    return n;
}

static bool answer_write(const struct fake_request *request, int fd)
{
    size_t n;

    gunzip(request->body, server_state.last, sizeof(server_state.last));
    n = count_lines(server_state.last);
    if (server_state.status)
        fake_reply(fd, server_state.status, server_state.headers, "{\"error\":\"not now\"}");
    else if (server_state.lines_max && n > server_state.lines_max)
        fake_reply(fd, 413, NULL, "");
    else if (strstr(server_state.last, "bad"))
        fake_reply(fd, 400, NULL, "{\"error\":\"partial write: no such thing\"}");
    else {
        server_state.lines += (unsigned)n;
        fake_reply(fd, 204, NULL, "");
    }
    return true;
}

static bool answer(void *arg, const struct fake_request *request, int fd)
{
    (void)arg;
    server_state.requests++;
    if (strcmp(request->path, "/query") == 0) {
        assert_string_equal(request->body, "q=CREATE%20DATABASE%20%22my%20db%22");
        server_state.has_database = true;
        fake_reply(fd, 200, NULL, "{}");
        return true;
    }
    if (!server_state.has_database) {
        fake_reply(fd, 404, NULL, "{\"error\":\"database not found\"}");
        return true;
    }
    return answer_write(request, fd);
}

struct bench {
    struct fake_server server;
    char url[64];
    struct cb_influxdb_config config;
    void *influxdb;
    struct cb_stream_answer answer;
    struct cb_err err;
};

static int setup(void **state)
{
    struct bench *b = calloc(1, sizeof(*b));

    assert_non_null(b);
    memset(&server_state, 0, sizeof(server_state));
    server_state.has_database = true;
    fake_server_listen(&b->server, NULL);
    fake_server_start(&b->server, answer, NULL);
    (void)snprintf(b->url, sizeof(b->url), "http://127.0.0.1:%d/", b->server.port);
    b->config = (struct cb_influxdb_config){.version = 2,
                                            .url = b->url,
                                            .org = "my org",
                                            .bucket = "b&c",
                                            .secret = "s3cret",
                                            .formats = CB_INFLUXDB_CBWATTS};
    *state = b;
    return 0;
}

static void free_answer(struct bench *b)
{
    while (b->answer.asides) {
        struct cb_stream_aside *next = b->answer.asides->next;

        free(b->answer.asides);
        b->answer.asides = next;
    }
    b->answer = (struct cb_stream_answer){0};
}

static int teardown(void **state)
{
    struct bench *b = *state;

    free_answer(b);
    if (b->influxdb)
        cb_stream_influxdb2.close(b->influxdb);
    fake_server_stop(&b->server);
    free(b);
    return 0;
}

static int deliver(struct bench *b, const char *lines)
{
    const struct cb_stream_delivery delivery = {
        .bytes = lines, .size = strlen(lines), .rows = count_lines(lines), .place = ""};

    if (!b->influxdb)
        assert_int_equal(cb_stream_influxdb2.open(&b->config, &b->influxdb, NULL), 0);
    free_answer(b);
    return cb_stream_influxdb2.send(b->influxdb, &delivery, &b->answer, &b->err);
}

static void lines_go_gzipped_to_where_the_options_say(void **state)
{
    struct bench *b = *state;

    assert_int_equal(deliver(b, "m f=1i 1\nm f=2i 2\n"), 0);
    assert_true(
        fake_server_saw(&b->server, "POST /api/v2/write?org=my%20org&bucket=b%26c&precision=ns"));
    assert_string_equal(server_state.last, "m f=1i 1\nm f=2i 2\n");
}

static void a_database_of_1_is_made_when_it_is_missing(void **state)
{
    struct bench *b = *state;

    server_state.has_database = false;
    b->config.version = 1;
    b->config.database = "my db";
    b->config.user = "u";
    assert_int_equal(deliver(b, "m f=1i 1\n"), 0);
    assert_true(fake_server_saw(&b->server, "POST /write?db=my%20db&precision=ns"));
    assert_int_equal(server_state.lines, 1);
}

static void what_is_refused_is_found_by_halving_and_the_rest_is_taken(void **state)
{
    struct bench *b = *state;
    char lines[4096] = "";

    for (unsigned i = 0; i < 64; i++)
        (void)snprintf(lines + strlen(lines), sizeof(lines) - strlen(lines), "%s f=%ui 1\n",
                       i == 17 || i == 40 ? "bad" : "m", i);
    assert_int_equal(deliver(b, lines), 0);
    assert_int_equal(server_state.lines, 62);
    assert_non_null(b->answer.asides);
    assert_int_equal(b->answer.asides->rows, 1);
    assert_int_equal(b->answer.asides->size, strlen("bad f=40i 1\n"));
    assert_memory_equal(b->answer.asides->bytes, "bad f=40i 1\n", b->answer.asides->size);
    assert_string_equal(b->answer.asides->reason, "partial write: no such thing");
    assert_non_null(b->answer.asides->next);
    assert_null(b->answer.asides->next->next);
}

static void a_batch_that_is_bad_throughout_ends(void **state)
{
    struct bench *b = *state;
    cb_auto_free char *lines = calloc(1, 64 * 1024);
    uint64_t rows = 0;

    assert_non_null(lines);
    for (unsigned i = 0; i < 3000; i++)
        (void)snprintf(lines + strlen(lines), 32, "bad f=%ui 1\n", i);
    assert_int_equal(deliver(b, lines), 0);
    for (const struct cb_stream_aside *a = b->answer.asides; a; a = a->next)
        rows += a->rows;
    assert_int_equal(rows, 3000);
    assert_in_range(server_state.requests, 200, 500);
}

static void what_is_too_large_is_halved(void **state)
{
    struct bench *b = *state;

    server_state.lines_max = 3;
    assert_int_equal(deliver(b, "m f=1i 1\nm f=1i 2\nm f=1i 3\nm f=1i 4\nm f=1i 5\n"), 0);
    assert_int_equal(server_state.lines, 5);
    assert_null(b->answer.asides);
}

static void an_overloaded_server_says_how_long_to_wait(void **state)
{
    static const int later[] = {429, 503, 500, 401, 302};
    struct bench *b = *state;

    for (size_t i = 0; i < sizeof(later) / sizeof(later[0]); i++) {
        server_state.status = later[i];
        server_state.headers = later[i] == 429 ? "Retry-After: 7\r\n" : NULL;
        assert_int_equal(deliver(b, "m f=1i 1\n"), -EIO);
        assert_int_equal(b->answer.retry_after_ns, later[i] == 429 ? 7 * CB_NS_PER_S : 0);
        assert_null(b->answer.asides);
        assert_null(strstr(b->err.text, "s3cret"));
    }
}

static void no_server_is_for_later(void **state)
{
    struct bench *b = *state;

    b->config.url = "http://127.0.0.1:1";
    assert_int_equal(deliver(b, "m f=1i 1\n"), -EIO);
}

static void a_wrong_url_is_refused_before_anything_runs(void **state)
{
    static const char *const bad[] = {
        "",          "localhost:8086",     "ftp://h",    "http://", "http:///x",
        "http://h?", "http://u:s3cret@h/", "http://h/ x"};
    struct bench *b = *state;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        void *influxdb = NULL;

        b->config.url = bad[i];
        assert_int_equal(cb_stream_influxdb2.open(&b->config, &influxdb, &b->err), -EINVAL);
        assert_null(influxdb);
        assert_non_null(strstr(b->err.text, "--influxdb2"));
        assert_null(strstr(b->err.text, "s3cret"));
    }
}

/* ---- lines ---- */

static void assert_packs(unsigned formats, uint32_t again, const char *want)
{
    struct cb_influxdb_sums *sums = cb_influxdb_sums_new();
    struct stream_fixture fixture;
    struct cb_batch batch = {0};

    stream_fixture_init(&fixture);
    fixture.bin.again = again;
    cb_influxdb_pack(formats, sums, &fixture.bin, &batch);
    cb_batch_add(&batch, "", 1);
    assert_string_equal(batch.bytes, want);
    assert_int_equal(batch.rows, count_lines(want));
    cb_batch_clear(&batch);
    (void)cb_influxdb_sums_free(sums);
}

static void our_rows_are_wide_and_whole_numbers(void **state)
{
    (void)state;
    assert_packs(
        CB_INFLUXDB_CBWATTS, 0,
        "cb_node,domain=dram,machine=node\\ 1,socket=1,source=estimate energy_uj=100i,idle_uj=30i,"
        "system_uj=20i,unattributed_uj=1i,source_uncertainty_uj=7i,covered_ns=500000000i "
        "1700000000000000000\n"
        "cb_container,container_id=c0ffee,container_name=a\\,\"b\"_,domain=dram,image=img\\=1,"
        "machine=node\\ 1,socket=1,source=estimate dynamic_uj=49i,uncertainty_uj=5i "
        "1700000000000000000\n"
        "cb_usage,container_id=c0ffee,container_name=a\\,\"b\"_,image=img\\=1,machine=node\\ 1 "
        "cpu_ns=5i,pids=12i 1700000000000000000\n");
}

static void powerapis_points_are_watts_and_memory_is_apart(void **state)
{
    (void)state;
    assert_packs(CB_INFLUXDB_POWERAPI, 0,
                 "power_consumption_dram,scope=dram,sensor=node\\ 1,socket=1,target=rapl "
                 "power=0.00020000000000000001,ratio=1,formula=\"cbwatts\",source=\"estimate\" "
                 "1700000000000000000\n"
                 "power_consumption_dram,scope=dram,sensor=node\\ 1,socket=1,target=global "
                 "power=9.7999999999999997e-05,ratio=1,formula=\"cbwatts\",source=\"estimate\" "
                 "1700000000000000000\n"
                 "power_rest,scope=dram,sensor=node\\ 1,socket=1 idle=6.0000000000000002e-05,"
                 "system=4.0000000000000003e-05,unattributed=1.9999999999999999e-06 "
                 "1700000000000000000\n"
                 "power_consumption_dram,container_id=c0ffee,scope=dram,sensor=node\\ 1,socket=1,"
                 "target=a\\,\"b\"_ power=9.7999999999999997e-05,ratio=1,formula=\"cbwatts\","
                 "source=\"estimate\" 1700000000000000000\n");
}

static void cadvisors_counters_grow(void **state)
{
    struct cb_influxdb_sums *sums = cb_influxdb_sums_new();
    struct stream_fixture fixture;
    struct cb_batch batch = {0};

    (void)state;
    stream_fixture_init(&fixture);
    for (unsigned i = 0; i < 3; i++) {
        batch.size = 0;
        cb_influxdb_pack(CB_INFLUXDB_CADVISOR, sums, &fixture.bin, &batch);
    }
    cb_batch_add(&batch, "", 1);
    assert_string_equal(batch.bytes,
                        "cpu_usage_total,container_id=c0ffee,container_name=a\\,\"b\"_,"
                        "machine=node\\ 1 value=15i 1700000000000000000\n");
    cb_batch_clear(&batch);
    (void)cb_influxdb_sums_free(sums);
}

static void a_time_that_comes_again_is_another_point(void **state)
{
    static const struct {
        uint32_t again;
        const char *time;
    } cases[] = {{1, "1700000000001000000"},
                 {99, "1700000000099000000"},
                 {100, "1700000000000000001"},
                 {201, "1700000000001000002"}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char want[256];

        (void)snprintf(want, sizeof(want),
                       "cpu_usage_total,container_id=c0ffee,container_name=a\\,\"b\"_,"
                       "machine=node\\ 1 value=5i %s\n",
                       cases[i].time);
        assert_packs(CB_INFLUXDB_CADVISOR, cases[i].again, want);
    }
}

static void formats_are_a_list(void **state)
{
    static const char *const bad[] = {"", "cbwatts,", "x", ",powerapi", "cbwatts powerapi"};
    unsigned formats = 0;

    (void)state;
    assert_int_equal(cb_influxdb_formats_parse("powerapi,cbwatts", &formats, NULL), 0);
    assert_int_equal(formats, CB_INFLUXDB_CBWATTS | CB_INFLUXDB_POWERAPI);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(cb_influxdb_formats_parse(bad[i], &formats, NULL), -EINVAL);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(lines_go_gzipped_to_where_the_options_say),
        TEST(a_database_of_1_is_made_when_it_is_missing),
        TEST(what_is_refused_is_found_by_halving_and_the_rest_is_taken),
        TEST(a_batch_that_is_bad_throughout_ends),
        TEST(what_is_too_large_is_halved),
        TEST(an_overloaded_server_says_how_long_to_wait),
        TEST(no_server_is_for_later),
        TEST(a_wrong_url_is_refused_before_anything_runs),
        cmocka_unit_test(our_rows_are_wide_and_whole_numbers),
        cmocka_unit_test(powerapis_points_are_watts_and_memory_is_apart),
        cmocka_unit_test(cadvisors_counters_grow),
        cmocka_unit_test(a_time_that_comes_again_is_another_point),
        cmocka_unit_test(formats_are_a_list),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
