/* SPDX-License-Identifier: Apache-2.0 */
/* test_cmd_replay.c - `replay` and `evaluate`: what they print, what they refuse. */
#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "formula/cmd.h"
#include "formula/recording.h"
#include "formula/replay_config.h"
#include "lib/frame.h"
#include "tests/support/capture.h"
#include "tests/support/fake_root.h"
#include "tests/support/synth.h"

struct output {
    int status;
    char out[16384], err[4096];
};

static void run(const struct fake_root *root, int (*command)(int, char **), char **argv,
                struct output *output)
{
    struct capture capture;
    int argc = 0;

    while (argv[argc])
        argc++;
    capture_begin(&capture, root);
    output->status = command(argc, argv);
    capture_end(&capture, output->out, sizeof(output->out), output->err, sizeof(output->err));
}

#define TEXT(text) ((char *)(uintptr_t)(text))
#define RUN(root, command, output, ...)                                                            \
    run((root), (command), (char *[]){TEXT("cbformula"), __VA_ARGS__, NULL}, (output))

/* @n ticks of a machine with one container, too few for a first fit. @more: members of `all`. */
static void put_ticks(const struct fake_root *root, int n, const char *more)
{
    char text[4096] = "";
    size_t used = 0;

    for (int i = 0; i < n; i++)
        used += (size_t)snprintf(
            text + used, sizeof(text) - used,
            "{\"timestamp\":%d,\"sensor\":\"s\",\"target\":\"all\",%s\"groups\":{\"rapl\":{\"0\":"
            "{\"0\":{\"RAPL_ENERGY_PKG\":100000000000}}}}}\n"
            "{\"timestamp\":%d,\"sensor\":\"s\",\"target\":\"c\",\"groups\":{\"core\":{\"0\":"
            "{\"0\":{\"CYCLES\":1000}}}}}\n",
            1000 * i, more, 1000 * i);
    assert_true(used < sizeof(text));
    fake_root_put(root, "in.jsonl", "%s", text);
}

static void a_model_without_a_prediction_has_no_error_of_zero(void **state)
{
    const struct fake_root *root = *state;
    struct output output;
    char path[128], fields[11][64] = {{0}};
    const char *row;

    put_ticks(root, 5, "");
    (void)snprintf(path, sizeof(path), "%s/in.jsonl", root->dir);
    RUN(root, cb_cmd_evaluate, &output, TEXT("--model"), TEXT("smartwatts"), path);
    assert_int_equal(output.status, 0);
    row = strchr(output.out, '\n');
    assert_non_null(row);
    for (size_t i = 0, used = 0; i < 11; i++) {
        int n = 0;

        assert_int_equal(sscanf(row + used, "%63s%n", fields[i], &n), 1);
        used += (size_t)n;
    }
    assert_string_equal(fields[3], "smartwatts");
    assert_string_equal(fields[4], "0");
    assert_string_equal(fields[8], "0");
    for (size_t i = 5; i < 11; i++) {
        if (i != 8)
            assert_string_equal(fields[i], "-");
    }
}

/* @n frames; returns how many sockets they have. */
static size_t put_recording(const char *path, int n)
{
    static struct synth synth;
    struct cb_frame_encoder *encoder = cb_frame_encoder_new();
    struct cb_recording_writer *writer = NULL;

    synth_init(&synth, &(struct synth_options){.seed = 7});
    assert_int_equal(cb_recording_create(path, &writer, NULL), 0);
    for (int i = 0; i < n; i++) {
        const uint8_t *bytes = NULL;
        size_t size;

        synth_tick(&synth);
        assert_int_equal(cb_frame_encode(encoder, &synth.frame, &bytes, &size, NULL), 0);
        assert_int_equal(cb_recording_frame(writer, bytes, size, NULL), 0);
    }
    assert_int_equal(cb_recording_close(writer, NULL), 0);
    encoder = cb_frame_encoder_free(encoder);
    return synth.n_sockets;
}

static size_t occurrences(const char *text, const char *of)
{
    size_t n = 0;

    for (text = strstr(text, of); text; text = strstr(text + 1, of))
        n++;
    return n;
}

/* Package and DRAM in five ticks, of which none has a model yet. */
static void smartwatts_takes_a_recording_of_frames(void **state)
{
    const struct fake_root *root = *state;
    struct output output;
    char path[128], input[160];
    size_t domains;

    (void)snprintf(path, sizeof(path), "%s/a.cbrec", root->dir);
    (void)snprintf(input, sizeof(input), "frames:%s", path);
    domains = 2 * put_recording(path, 5);
    RUN(root, cb_cmd_replay, &output, TEXT("--in"), input, TEXT("--model"), TEXT("smartwatts"),
        TEXT("--out"), TEXT("powerapi-json"), TEXT("--flush"));
    assert_string_equal(output.err, "");
    assert_int_equal(output.status, 0);
    assert_int_equal(occurrences(output.out, "\"target\":\"rapl\""), 5 * domains);
    assert_int_equal(occurrences(output.out, "\n"), 5 * domains);
    RUN(root, cb_cmd_evaluate, &output, TEXT("--model"), TEXT("all"), path);
    assert_int_equal(output.status, 0);
    assert_int_equal(occurrences(output.out, " smartwatts "), domains);
    assert_int_equal(occurrences(output.out, " cbwatts "), domains);
}

/* Integers stay integers, and what the formula says itself is not overridden. */
static void smartwatts_passes_a_reports_own_metadata_on(void **state)
{
    const struct fake_root *root = *state;
    struct output output;
    char path[128];

    put_ticks(root, 2,
              "\"metadata\":{\"host\":\"h\\\"\",\"socket\":\"9\",\"n\":3,\"scope\":null,\"k\":{"
              "\"a\":[1.5,"
              "true]}},");
    (void)snprintf(path, sizeof(path), "hwpc-json:%s/in.jsonl", root->dir);
    RUN(root, cb_cmd_replay, &output, TEXT("--in"), path, TEXT("--model"), TEXT("smartwatts"),
        TEXT("--out"), TEXT("powerapi-json"), TEXT("--flush"), TEXT("--disable-dram-formula"));
    assert_int_equal(output.status, 0);
    assert_int_equal(occurrences(output.out, "\n"), 2);
    assert_int_equal(occurrences(output.out,
                                 "\"metadata\":{\"scope\":\"cpu\",\"socket\":\"0\",\"formula\":"
                                 "\"RAPL_ENERGY_PKG\",\"ratio\":1,\"host\":\"h\\\"\",\"n\":3,"
                                 "\"k\":{\"a\":[1.5,true]}}}\n"),
                     2);
}

/* @name as a whole: --in is not --influxdb. */
static bool has_option(const char *text, const char *name)
{
    size_t size = strlen(name);

    for (text = strstr(text, name); text; text = strstr(text + 1, name)) {
        if (!isalnum((unsigned char)text[size]) && text[size] != '\\')
            return true;
    }
    return false;
}

/* roff writes a minus as \- . */
static void every_option_is_in_the_manual(void **state)
{
    FILE *file = fopen("docs/man/cbformula.1", "r");
    char *text = calloc(1, 1 << 18);
    size_t n;

    (void)state;
    assert_non_null(file);
    assert_non_null(text);
    n = fread(text, 1, (1 << 18) - 1, file);
    (void)fclose(file);
    assert_true(n > 0 && n < (1 << 18) - 1);
    for (const struct cb_opt *option = cb_replay_options_table; option->key; option++) {
        char name[128] = "\\-\\-";
        size_t used = 4;

        for (const char *c = option->key; *c; c++)
            used +=
                (size_t)snprintf(name + used, sizeof(name) - used, *c == '-' ? "\\%c" : "%c", *c);
        if (!has_option(text, name))
            fail_msg("%s is not in docs/man/cbformula.1", name);
    }
    free(text);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, fake_root_setup, fake_root_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_model_without_a_prediction_has_no_error_of_zero),
        TEST(smartwatts_takes_a_recording_of_frames),
        TEST(smartwatts_passes_a_reports_own_metadata_on),
        TEST(every_option_is_in_the_manual),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
