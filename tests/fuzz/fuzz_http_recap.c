/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_http_recap.c - the arguments of a posted recap, one a line: machine, name, begin,
 * beginwarmup, beginexecution, end, id. And the times of the command line. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "formula/http_private.h"
#include "formula/wall.h"
#include "lib/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct recap_marks *marks, const struct cb_store_test *test)
{
    assert(test->machine[0] && test->name[0] && test->container_id[0]);
    assert(marks->begin <= marks->end && marks->end == test->end_wall_ns);
    assert(marks->begin <= marks->warmup && marks->warmup <= marks->end);
    assert(marks->begin <= marks->execution && marks->execution <= marks->end);
    assert(marks->has_warmup || marks->has_execution);
    assert(!marks->has_warmup || !marks->has_execution || marks->warmup <= marks->execution);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    char *rest = text;
    struct recap_form form = {.machine = NULL};
    const char **members[] = {&form.machine,        &form.name, &form.begin, &form.beginwarmup,
                              &form.beginexecution, &form.end,  &form.id};
    struct recap_marks marks;
    struct cb_store_test test;
    struct cb_err err = {0};
    uint64_t wall_ns;
    int r;

    assert(text);
    memcpy(text, data, size);
    text[size] = '\0';
    if (cb_wall_parse(text, &wall_ns) == 0)
        assert(wall_ns <= INT64_MAX);
    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]) && rest; i++)
        *members[i] = strsep(&rest, "\n");
    r = cb_http_parse_recap(&form, &marks, &test, &err);
    if (r < 0)
        assert(err.code == -r && err.text[0]);
    else
        check(&marks, &test);
    free(text);
    return 0;
}
