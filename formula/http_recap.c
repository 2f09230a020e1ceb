/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_recap.c - a recap posted as powerapi-g5k's listener was told it:
 *     POST /<database>/<machine>?name=&begin=&beginwarmup=&beginexecution=&end=&id=
 * It becomes a test of the machine that is told by wall times. See http_private.h and docs/http.md.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formula/http_private.h"
#include "formula/recap.h"
#include "formula/recap_flat.h"
#include "formula/wall.h"
#include "lib/clock.h"
#include "lib/err.h"
#include "lib/utf8.h"

#define WAIT_NS (30 * CB_NS_PER_S)
/* How far two machines' clocks may be apart. */
#define AHEAD_NS (60 * CB_NS_PER_S)

/* ---- the arguments ---- */

static int take_text(const char *key, const char *text, char *ret_text, size_t size,
                     struct cb_err *err)
{
    if (!text || !text[0])
        return cb_err_set(err, EINVAL, "%s: is missing", key);
    if (strlen(text) >= size)
        return cb_err_set(err, EINVAL, "%s: is longer than %zu bytes", key, size - 1);
    (void)snprintf(ret_text, size, "%s", text);
    cb_utf8_clean(ret_text);
    if (strcmp(ret_text, text) != 0)
        return cb_err_set(err, EINVAL, "%s: has control characters, or is not UTF-8", key);
    return 0;
}

static int take_time(const char *key, const char *text, uint64_t *ret_wall_ns, struct cb_err *err)
{
    if (!text || !text[0])
        return cb_err_set(err, EINVAL, "%s: is missing", key);
    if (cb_wall_parse_epoch(text, ret_wall_ns) < 0)
        return cb_err_set(err, EINVAL, "%s: '%.30s' is not a time in seconds since 1970", key,
                          text);
    return 0;
}

/* A mark that was not set is the begin, says the form. So an execution that begins with the whole
 * while the warm-up begins later is one that was not marked. */
static int check_marks(struct recap_marks *marks, struct cb_err *err)
{
    if (marks->end < marks->begin)
        return cb_err_set(err, EINVAL, "end: lies before begin");
    if (marks->warmup < marks->begin || marks->warmup > marks->end)
        return cb_err_set(err, EINVAL, "beginwarmup: does not lie between begin and end");
    if (marks->execution < marks->begin || marks->execution > marks->end)
        return cb_err_set(err, EINVAL, "beginexecution: does not lie between begin and end");
    marks->has_execution = true;
    if (marks->execution < marks->warmup) {
        if (marks->execution > marks->begin)
            return cb_err_set(err, EINVAL, "beginexecution: lies before beginwarmup");
        marks->has_execution = false;
    }
    marks->has_warmup = !marks->has_execution || marks->execution > marks->warmup;
    return 0;
}

int cb_http_parse_recap(const struct recap_form *form, struct recap_marks *ret_marks,
                        struct cb_store_test *ret_test, struct cb_err *err)
{
    struct cb_store_test test = {.boot = 0};
    struct recap_marks marks = {.begin = 0};
    int r = take_text("machine", form->machine, test.machine, sizeof(test.machine), err);

    if (r == 0)
        r = take_text("name", form->name, test.name, sizeof(test.name), err);
    if (r == 0)
        r = take_time("begin", form->begin, &marks.begin, err);
    if (r == 0)
        r = take_time("beginwarmup", form->beginwarmup, &marks.warmup, err);
    if (r == 0)
        r = take_time("beginexecution", form->beginexecution, &marks.execution, err);
    if (r == 0)
        r = take_time("end", form->end, &marks.end, err);
    if (r == 0)
        r = take_text("id", form->id, test.container_id, sizeof(test.container_id), err);
    if (r == 0)
        r = check_marks(&marks, err);
    if (r < 0)
        return r;
    test.begin_wall_ns = marks.begin;
    test.end_wall_ns = marks.end;
    *ret_marks = marks;
    *ret_test = test;
    return 0;
}

/* The value of an argument that may stand there once; NULL: it is not there. */
struct seen {
    const char *key, *value;
    unsigned n;
    bool zero; /* a byte 0 within */
};

static enum MHD_Result see(void *context, enum MHD_ValueKind kind, const char *key, size_t key_size,
                           const char *value, size_t size)
{
    struct seen *seen = context;

    (void)kind;
    if (strlen(seen->key) != key_size || memcmp(seen->key, key, key_size) != 0)
        return MHD_YES;
    seen->n++;
    seen->value = value;
    seen->zero = value && strlen(value) != size;
    return MHD_YES;
}

static int argument(const struct request *request, const char *key, const char **ret_value,
                    struct cb_err *err)
{
    struct seen seen = {.key = key};

    (void)MHD_get_connection_values_n(request->connection, MHD_GET_ARGUMENT_KIND, see, &seen);
    if (seen.n > 1)
        return cb_err_set(err, EINVAL, "%s: stands there %u times", key, seen.n);
    if (seen.zero)
        return cb_err_set(err, EINVAL, "%s: has a byte 0 in it", key);
    *ret_value = seen.value;
    return 0;
}

static int read_form(const struct request *request, struct recap_form *form, struct cb_err *err)
{
    const struct {
        const char *key;
        const char **value;
    } arguments[] = {
        {"name", &form->name},
        {"begin", &form->begin},
        {"beginwarmup", &form->beginwarmup},
        {"beginexecution", &form->beginexecution},
        {"end", &form->end},
        {"id", &form->id},
    };
    int r = 0;

    form->machine = request->machine;
    for (size_t i = 0; i < sizeof(arguments) / sizeof(arguments[0]) && r == 0; i++)
        r = argument(request, arguments[i].key, arguments[i].value, err);
    return r;
}

/* ---- the test ---- */

/* The same recap posted again is the same test (FNV-1a of 128 bits over all that was told). */
static void make_id(struct cb_store_test *test, const struct recap_marks *marks)
{
    unsigned __int128 hash = (unsigned __int128)0x6c62272e07bb0142 << 64 | 0x62b821756295c58d;
    const unsigned __int128 prime = (unsigned __int128)1 << 88 | 0x13b;
    char text[CB_NAME_SIZE + CB_STORE_TEXT_SIZE + CB_STORE_ID_SIZE + 128];
    int n =
        snprintf(text, sizeof(text), "%s\n%s\n%s\n%" PRIu64 "\n%" PRIu64 "\n%" PRIu64 "\n%" PRIu64,
                 test->machine, test->name, test->container_id, marks->begin, marks->warmup,
                 marks->execution, marks->end);

    for (int i = 0; i < n; i++)
        hash = (hash ^ (unsigned char)text[i]) * prime;
    (void)snprintf(test->id, sizeof(test->id), "%016" PRIx64 "%016" PRIx64, (uint64_t)(hash >> 64),
                   (uint64_t)hash);
}

/* How far the store has come for what was told. */
struct progress {
    bool any;     /* a frame overlaps */
    bool covered; /* the frames reach the end */
    struct cb_store_moment end;
};

static int look(struct cb_store *store, const struct cb_store_machine *machine,
                const struct recap_marks *marks, struct progress *ret, struct cb_err *err)
{
    struct cb_store_moment first = {.boot = 0};
    bool instant = marks->begin == marks->end; /* a frame that begins or ends there will do */
    uint64_t begin;
    int r = cb_store_moment(store, machine->id, marks->begin + !instant, &first, err);

    if (r == 0)
        r = cb_store_moment(store, machine->id, marks->end, &ret->end, err);
    if (r == -ENOENT) {
        *ret = (struct progress){.any = false};
        return 0;
    }
    begin = first.wall_ns - (first.t1_ns - first.t0_ns);
    ret->any = r == 0 && first.covered && (begin < marks->end || (instant && begin == marks->end));
    ret->covered = r == 0 && ret->end.covered;
    return r;
}

static int look_once(struct cb_http *http, const char *name, const struct recap_marks *marks,
                     struct cb_store_machine *ret_machine, struct progress *ret_progress,
                     struct cb_err *err)
{
    struct cb_store *store = NULL;
    int r = cb_http_take_store(http, &store, err);

    if (r < 0)
        return r;
    r = cb_store_find_machine(store, name, ret_machine, err);
    if (r == 0)
        r = look(store, ret_machine, marks, ret_progress, err);
    cb_http_give_store(http, store);
    return r;
}

/* The sensor's frames come a tick behind; a machine that is silent is not waited for. */
static int wait_until_covered(struct cb_http *http, const char *name,
                              const struct recap_marks *marks, struct cb_store_machine *ret_machine,
                              struct progress *ret_progress, struct cb_err *err)
{
    uint64_t until = cb_clock_boot_ns() + WAIT_NS;

    if (atomic_fetch_add(&http->waiting, 1) >= CB_HTTP_CONNECTIONS / 2)
        until = 0;
    for (;;) {
        uint64_t seen = cb_notify_generation(http->o.notify);
        int r = look_once(http, name, marks, ret_machine, ret_progress, err);
        uint64_t now = cb_clock_boot_ns();

        if (r < 0 || ret_progress->covered || now >= until ||
            ret_machine->heard_wall_ns + WAIT_NS < cb_clock_wall_ns() ||
            !cb_notify_wait(http->o.notify, seen, until - now)) {
            atomic_fetch_sub(&http->waiting, 1);
            return r;
        }
    }
}

/* A mark on the machine's clock, never before the one before it. */
static int place_mark(struct cb_store *store, int64_t machine, int64_t boot, uint64_t wall_ns,
                      uint64_t before_ns, uint64_t *ret_ns, struct cb_err *err)
{
    struct cb_store_moment moment = {.boot = 0};
    int r = cb_store_moment(store, machine, wall_ns, &moment, err);
    uint64_t ns;

    if (r < 0)
        return r;
    if (moment.boot != boot)
        return cb_err_set(err, EINVAL, "the machine was started again between begin and end");
    ns = cb_wall_to_boot(&moment, wall_ns);
    *ret_ns = ns > before_ns ? ns : before_ns;
    return 0;
}

static int place_marks(struct cb_store *store, const struct cb_store_machine *machine,
                       const struct recap_marks *marks, const struct progress *progress,
                       struct cb_store_test *test, struct cb_err *err)
{
    int64_t boot = progress->end.boot;
    int r = place_mark(store, machine->id, boot, marks->begin, 0, &test->begin_ns, err);

    test->boot = boot;
    test->has_warmup = marks->has_warmup;
    test->has_execution = marks->has_execution;
    if (r == 0 && marks->has_warmup)
        r = place_mark(store, machine->id, boot, marks->warmup, test->begin_ns, &test->warmup_ns,
                       err);
    if (r == 0 && marks->has_execution)
        r = place_mark(store, machine->id, boot, marks->execution,
                       test->has_warmup ? test->warmup_ns : test->begin_ns, &test->execution_ns,
                       err);
    if (r == 0)
        r = place_mark(store, machine->id, boot, marks->end,
                       test->has_execution ? test->execution_ns : test->warmup_ns, &test->end_ns,
                       err);
    return r;
}

/* Begun and ended at once, unless the same was posted meanwhile. */
static int put_test(struct cb_store *store, struct cb_store_test *test, struct cb_err *err)
{
    struct cb_store_test there;
    int r = cb_store_begin(store, err);

    if (r < 0)
        return r;
    test->created_wall_ns = test->ended_wall_ns = cb_clock_wall_ns();
    r = cb_store_test(store, test->id, &there, err);
    if (r == -ENOENT) {
        r = cb_store_put_test(store, test, "[]", err);
        if (r == 0)
            r = cb_store_end_test(store, test, err);
    }
    if (r == 0)
        r = cb_store_commit(store, err);
    if (r < 0)
        cb_store_rollback(store);
    return r;
}

/* Make the test, unless it was posted before, and its recap when that can be. */
static int keep(struct cb_http *http, struct cb_store *store,
                const struct cb_store_machine *machine, const struct recap_marks *marks,
                const struct progress *progress, struct cb_store_test *test, char **ret_document,
                struct cb_err *err)
{
    int r = cb_store_test(store, test->id, test, err);

    if (r == -ENOENT) {
        r = place_marks(store, machine, marks, progress, test, err);
        if (r == 0)
            r = put_test(store, test, err);
        if (r == 0)
            r = cb_store_test(store, test->id, test, err);
    }
    if (r == 0 && progress->covered)
        r = cb_recap_finish(store, test, http->o.sink_names, http->o.n_sinks, err);
    if (r == 0)
        r = cb_store_recap(store, test->id, ret_document, err);
    return r;
}

/* ---- the answer ---- */

static int answer(const char *document, enum cb_idle_policy policy, struct reply *ret_reply,
                  struct cb_err *err)
{
    json_t *recap = json_loads(document, 0, NULL);
    json_t *flat = NULL;
    int r = recap ? cb_recap_tell(recap, policy, err)
                  : cb_err_set(err, EIO, "the stored recap is damaged");

    if (r == 0)
        r = cb_flat_recap(recap, &flat, err);
    if (r == 0)
        r = cb_flat_dates_to_text(flat, err);
    json_decref(recap);
    if (r < 0) {
        json_decref(flat);
        return r;
    }
    return cb_http_reply_json(ret_reply, MHD_HTTP_OK, flat, err);
}

/* A page in a browser could send this form; no browser leaves its Origin out of a POST. */
static int refuse_browser(const struct request *request, struct cb_err *err)
{
    const char *origin =
        MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_ORIGIN);

    return origin ? cb_err_set(err, EACCES, "a recap is not posted by a page in a browser") : 0;
}

int cb_http_post_recap(struct cb_http *http, const struct request *request, struct reply *ret_reply,
                       struct cb_err *err)
{
    struct recap_form form = {.machine = NULL};
    struct recap_marks marks = {.begin = 0};
    struct cb_store_test test = {.boot = 0};
    struct cb_store_machine machine = {.id = 0};
    struct progress progress = {.any = false};
    enum cb_idle_policy policy = CB_IDLE_NONE;
    cb_auto_free char *document = NULL;
    struct cb_store *store = NULL;
    int r = refuse_browser(request, err);

    if (r == 0)
        r = read_form(request, &form, err);
    if (r == 0)
        r = cb_http_parse_recap(&form, &marks, &test, err);
    if (r == 0)
        r = cb_http_arg_idle(request, &policy, err);
    if (r == 0 && marks.end > cb_clock_wall_ns() + AHEAD_NS)
        r = cb_err_set(err, EINVAL, "end: lies in the future");
    if (r == 0)
        r = wait_until_covered(http, test.machine, &marks, &machine, &progress, err);
    if (r == 0 && !progress.any)
        r = cb_err_set(err, ENOENT, "there is no data of '%.60s' between begin and end",
                       test.machine);
    if (r == 0)
        r = cb_http_take_store(http, &store, err);
    if (r < 0)
        return r;
    make_id(&test, &marks);
    r = keep(http, store, &machine, &marks, &progress, &test, &document, err);
    cb_http_give_store(http, store);
    cb_notify_bump(http->o.notify); /* a recap for the sinks, or a test for the keeper */
    if (r == -ENOENT)
        return cb_http_reply_json(ret_reply, MHD_HTTP_ACCEPTED,
                                  json_pack("{s:s, s:s}", "test", test.id, "machine", test.machine),
                                  err);
    return r < 0 ? r : answer(document, policy, ret_reply, err);
}
