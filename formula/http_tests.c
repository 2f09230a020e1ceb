/* SPDX-License-Identifier: Apache-2.0 */
/* http_tests.c - begin, end and recap of a test; the list of recaps. See http_private.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "formula/http_private.h"
#include "formula/recap.h"
#include "lib/clock.h"
#include "lib/defaults.h"
#include "lib/err.h"

#define WAIT_MAX_S 30
#define RECAPS_DEFAULT 20
#define RECAPS_MAX 1000
#define ARGS_MAX 16384 /* as JSON */
#define TEXT_MAX (CB_STORE_TEXT_SIZE - 1)
/* A sensor that was not heard for this long, besides three of its ticks, does not report. */
#define SILENT_NS (20 * CB_NS_PER_S)
#define SILENT_FIRST_NS (75 * CB_NS_PER_S) /* while its first frame is not there */

int cb_http_health(struct cb_http *http, const struct request *request, struct reply *ret_reply,
                   struct cb_err *err)
{
    (void)http;
    (void)request;
    return cb_http_reply_json(ret_reply, MHD_HTTP_OK,
                              json_pack("{s:s, s:s}", "status", "ok", "version", CB_VERSION), err);
}

/* ---- reading bodies ---- */

static int parse_body(const char *body, size_t size, json_t **ret_json, struct cb_err *err)
{
    json_error_t error;
    json_t *json = json_loadb(body, size, JSON_REJECT_DUPLICATES, &error);

    if (!json)
        return cb_err_set(err, EINVAL, "the body is not JSON: %.100s (line %d)", error.text,
                          error.line);
    if (!json_is_object(json)) {
        json_decref(json);
        return cb_err_set(err, EINVAL, "the body is not a JSON object");
    }
    *ret_json = json;
    return 0;
}

static int get_text(const json_t *json, const char *key, bool needed, char *ret_text, size_t size,
                    struct cb_err *err)
{
    const json_t *value = json_object_get(json, key);
    const char *text = json_string_value(value);

    if (!value && !needed) {
        ret_text[0] = '\0';
        return 0;
    }
    if (!text || (needed && !text[0]) || strlen(text) >= size)
        return cb_err_set(err, EINVAL, "%s: a text of %d to %zu bytes is needed", key, needed,
                          size - 1);
    (void)snprintf(ret_text, size, "%s", text);
    return 0;
}

static int get_ns(const json_t *json, const char *key, uint64_t *ret_ns, struct cb_err *err)
{
    const json_t *value = json_object_get(json, key);

    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return cb_err_set(err, EINVAL, "%s: a time in BOOTTIME nanoseconds is needed", key);
    *ret_ns = (uint64_t)json_integer_value(value);
    return 0;
}

static int get_mark(const json_t *json, const char *key, bool *ret_has, uint64_t *ret_ns,
                    struct cb_err *err)
{
    const json_t *value = json_object_get(json, key);

    *ret_has = value && !json_is_null(value);
    *ret_ns = 0;
    return *ret_has ? get_ns(json, key, ret_ns, err) : 0;
}

/* A list of texts, as JSON again; free() it. */
static int args_of(const json_t *json, char **ret_args, struct cb_err *err)
{
    const json_t *args = json_object_get(json, "args");
    const json_t *arg;
    bool ok = !args || json_is_array(args);
    size_t i;

    json_array_foreach(args, i, arg) ok = ok && json_is_string(arg);
    if (!ok)
        return cb_err_set(err, EINVAL, "args: a list of texts is needed");
    *ret_args = args ? json_dumps(args, JSON_COMPACT) : strdup("[]");
    if (!*ret_args)
        return cb_err_set(err, ENOMEM, "out of memory");
    if (strlen(*ret_args) > ARGS_MAX)
        return cb_err_set(err, EINVAL, "args: more than %d bytes", ARGS_MAX);
    return 0;
}

/* ---- begin ---- */

static int make_id(char ret_id[CB_TEST_ID_SIZE], struct cb_err *err)
{
    uint8_t bytes[(CB_TEST_ID_SIZE - 1) / 2];

    if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
        return cb_err_set(err, EIO, "no random numbers");
    for (size_t i = 0; i < sizeof(bytes); i++)
        (void)snprintf(ret_id + 2 * i, 3, "%02x", bytes[i]);
    return 0;
}

/* The machine whose sensor reports with this boot id, now. */
static int find_machine(struct cb_store *store, const char *boot_id,
                        struct cb_store_machine *ret_machine, struct cb_err *err)
{
    uint64_t now = cb_clock_wall_ns();
    uint64_t allowed;
    int r = cb_store_machine_of_boot(store, boot_id, ret_machine, err);

    if (r == -ENOENT)
        return cb_err_set(err, ENOENT,
                          "no sensor reports with the boot id '%.40s': is cbsensor running on this "
                          "machine, and let in here?",
                          boot_id);
    if (r < 0)
        return r;
    allowed =
        ret_machine->last_length_ns ? SILENT_NS + 3 * ret_machine->last_length_ns : SILENT_FIRST_NS;
    if (ret_machine->heard_wall_ns + allowed < now)
        return cb_err_set(err, ENOENT,
                          "the sensor of '%.60s' has been silent for %llu s: is cbsensor running?",
                          ret_machine->name,
                          (unsigned long long)((now - ret_machine->heard_wall_ns) / CB_NS_PER_S));
    return 0;
}

static int read_begin(const json_t *json, struct cb_store_test *test, char **ret_args,
                      struct cb_err *err)
{
    int r = get_text(json, "name", true, test->name, sizeof(test->name), err);

    if (r == 0)
        r = get_text(json, "image", false, test->image, sizeof(test->image), err);
    if (r == 0)
        r = get_text(json, "boot_id", true, test->boot_id, sizeof(test->boot_id), err);
    if (r == 0)
        r = args_of(json, ret_args, err);
    return r;
}

int cb_http_parse_begin(const char *body, size_t size, struct cb_store_test *ret_test,
                        char **ret_args, struct cb_err *err)
{
    struct cb_store_test test = {.boot = 0};
    json_t *json = NULL;
    int r = parse_body(body, size, &json, err);

    if (r == 0)
        r = read_begin(json, &test, ret_args, err);
    json_decref(json);
    if (r == 0)
        *ret_test = test;
    return r;
}

static int begin_test(struct cb_store *store, struct cb_store_test *test, const char *args,
                      struct cb_err *err)
{
    struct cb_store_machine machine;
    int r = find_machine(store, test->boot_id, &machine, err);

    if (r == 0)
        r = make_id(test->id, err);
    if (r < 0)
        return r;
    test->boot = machine.boot;
    test->created_wall_ns = cb_clock_wall_ns();
    memcpy(test->machine, machine.name, sizeof(test->machine));
    return cb_store_put_test(store, test, args, err);
}

int cb_http_begin_test(struct cb_http *http, const struct request *request, struct reply *ret_reply,
                       struct cb_err *err)
{
    struct cb_store_test test = {.boot = 0};
    cb_auto_free char *args = NULL;
    struct cb_store *store = NULL;
    int r = cb_http_parse_begin(request->body, request->body_size, &test, &args, err);

    if (r == 0)
        r = cb_http_take_store(http, &store, err);
    if (r < 0)
        return r;
    r = begin_test(store, &test, args, err);
    cb_http_give_store(http, store);
    if (r < 0)
        return r;
    return cb_http_reply_json(ret_reply, MHD_HTTP_CREATED,
                              json_pack("{s:s, s:s}", "test", test.id, "machine", test.machine),
                              err);
}

/* ---- end ---- */

static int check_order(const struct cb_store_test *test, struct cb_err *err)
{
    uint64_t at = test->begin_ns;

    if (test->has_warmup && test->warmup_ns < at)
        return cb_err_set(err, EINVAL, "warmup_ns lies before begin_ns");
    at = test->has_warmup ? test->warmup_ns : at;
    if (test->has_execution && test->execution_ns < at)
        return cb_err_set(err, EINVAL, "execution_ns lies before warmup_ns or begin_ns");
    at = test->has_execution ? test->execution_ns : at;
    if (test->end_ns < at || test->end_ns == test->begin_ns)
        return cb_err_set(err, EINVAL, "end_ns lies before another time, or is begin_ns");
    return 0;
}

static int read_end(const json_t *json, struct cb_store_test *test, struct cb_err *err)
{
    const json_t *code = json_object_get(json, "exit_code");
    int r = get_text(json, "id", true, test->container_id, sizeof(test->container_id), err);

    if (r == 0)
        r = get_ns(json, "begin_ns", &test->begin_ns, err);
    if (r == 0)
        r = get_mark(json, "warmup_ns", &test->has_warmup, &test->warmup_ns, err);
    if (r == 0)
        r = get_mark(json, "execution_ns", &test->has_execution, &test->execution_ns, err);
    if (r == 0)
        r = get_ns(json, "end_ns", &test->end_ns, err);
    if (r < 0)
        return r;
    if (!json_is_integer(code) || json_integer_value(code) < -255 || json_integer_value(code) > 255)
        return cb_err_set(err, EINVAL, "exit_code: a whole number is needed");
    test->exit_code = (int)json_integer_value(code);
    return check_order(test, err);
}

int cb_http_parse_end(const char *body, size_t size, struct cb_store_test *ret_test,
                      struct cb_err *err)
{
    struct cb_store_test test = {.boot = 0};
    json_t *json = NULL;
    int r = parse_body(body, size, &json, err);

    if (r == 0)
        r = read_end(json, &test, err);
    json_decref(json);
    if (r == 0)
        *ret_test = test;
    return r;
}

int cb_http_end_test(struct cb_http *http, const struct request *request, struct reply *ret_reply,
                     struct cb_err *err)
{
    struct cb_store_test test = {.boot = 0};
    struct cb_store *store = NULL;
    int r = cb_http_parse_end(request->body, request->body_size, &test, err);

    if (r == 0)
        r = cb_http_take_store(http, &store, err);
    if (r < 0)
        return r;
    (void)snprintf(test.id, sizeof(test.id), "%s", request->id);
    test.ended_wall_ns = cb_clock_wall_ns();
    r = cb_store_end_test(store, &test, err);
    cb_http_give_store(http, store);
    if (r < 0)
        return r;
    cb_notify_bump(http->o.notify); /* the keeper may have something to do */
    return cb_http_reply_json(ret_reply, MHD_HTTP_OK, json_pack("{s:s}", "test", test.id), err);
}

int cb_http_give_up_test(struct cb_http *http, const struct request *request,
                         struct reply *ret_reply, struct cb_err *err)
{
    struct cb_store *store = NULL;
    int r = cb_http_take_store(http, &store, err);

    if (r < 0)
        return r;
    r = cb_store_give_up_test(store, request->id, cb_clock_wall_ns(), err);
    cb_http_give_store(http, store);
    if (r < 0)
        return r;
    return cb_http_reply_json(ret_reply, MHD_HTTP_OK, json_pack("{s:s}", "test", request->id), err);
}

/* ---- recap ---- */

static int told(const char *document, enum cb_idle_policy policy, json_t **ret_json,
                struct cb_err *err)
{
    json_t *json = json_loads(document, 0, NULL);
    int r = json ? cb_recap_tell(json, policy, err)
                 : cb_err_set(err, EBADMSG, "a stored recap is damaged");

    if (r < 0)
        json_decref(json);
    else
        *ret_json = json;
    return r;
}

/* The stored recap: 0; -EAGAIN with how far the frames are when it cannot be made yet. */
static int try_recap(struct cb_http *http, const char *id, char **ret_document,
                     uint64_t *ret_covered_ns, uint64_t *ret_end_ns, struct cb_err *err)
{
    struct cb_store_test test = {.boot = 0};
    struct cb_store *store = NULL;
    int r = cb_http_take_store(http, &store, err);

    if (r < 0)
        return r;
    r = cb_store_test(store, id, &test, err);
    if (r == 0 && test.state == CB_TEST_RUNNING)
        r = cb_err_set(err, EEXIST, "the end of test '%s' has not been told yet", id);
    else if (r == 0 && test.state == CB_TEST_GIVEN_UP)
        r = cb_err_set(err, EEXIST, "test '%s' was given up", id);
    if (r == 0) {
        *ret_end_ns = test.end_ns;
        r = cb_store_covered(store, test.boot, ret_covered_ns, err);
    }
    if (r == 0)
        r = cb_store_recap(store, id, ret_document, err);
    if (r == -ENOENT && test.id[0] && *ret_covered_ns >= test.end_ns) {
        r = cb_recap_finish(store, &test, http->o.sink_names, http->o.n_sinks, err);
        if (r == 0)
            r = cb_store_recap(store, id, ret_document, err);
    } else if (r == -ENOENT && test.id[0]) {
        r = -EAGAIN;
    }
    cb_http_give_store(http, store);
    return r;
}

/* Try, and try again at each news until @wait_ns have passed. */
static int wait_for_recap(struct cb_http *http, const char *id, uint64_t wait_ns,
                          char **ret_document, uint64_t *ret_covered_ns, uint64_t *ret_end_ns,
                          struct cb_err *err)
{
    uint64_t until = cb_clock_boot_ns() + wait_ns;

    for (;;) {
        uint64_t seen = cb_notify_generation(http->o.notify);
        int r = try_recap(http, id, ret_document, ret_covered_ns, ret_end_ns, err);
        uint64_t now = cb_clock_boot_ns();

        if (r != -EAGAIN || now >= until || !cb_notify_wait(http->o.notify, seen, until - now))
            return r;
    }
}

int cb_http_test_recap(struct cb_http *http, const struct request *request, struct reply *ret_reply,
                       struct cb_err *err)
{
    enum cb_idle_policy policy = CB_IDLE_NONE;
    cb_auto_free char *document = NULL;
    uint64_t covered_ns = 0;
    uint64_t end_ns = 0;
    uint64_t wait_s;
    json_t *json = NULL;
    int r = cb_http_arg_number(request, "wait", 0, WAIT_MAX_S, &wait_s, err);

    if (r == 0)
        r = cb_http_arg_idle(request, &policy, err);
    if (r < 0)
        return r;
    if (atomic_fetch_add(&http->waiting, 1) >= CB_HTTP_CONNECTIONS / 2)
        wait_s = 0;
    r = wait_for_recap(http, request->id, wait_s * CB_NS_PER_S, &document, &covered_ns, &end_ns,
                       err);
    atomic_fetch_sub(&http->waiting, 1);
    if (r == -EAGAIN)
        return cb_http_reply_json(ret_reply, MHD_HTTP_ACCEPTED,
                                  json_pack("{s:I, s:I}", "covered_ns", (json_int_t)covered_ns,
                                            "end_ns", (json_int_t)end_ns),
                                  err);
    if (r == 0)
        r = told(document, policy, &json, err);
    return r < 0 ? r : cb_http_reply_json(ret_reply, MHD_HTTP_OK, json, err);
}

/* ---- the list ---- */

struct list {
    FILE *out;
    size_t n;
    enum cb_idle_policy policy;
    struct cb_err *err;
};

static int add_recap(void *context, const char *test_id, const char *document)
{
    struct list *list = context;
    json_t *json = NULL;
    int r = told(document, list->policy, &json, list->err);

    (void)test_id;
    if (r < 0)
        return r;
    if (list->n++)
        (void)fputc(',', list->out);
    if (json_dumpf(json, list->out, JSON_COMPACT | JSON_REAL_PRECISION(15)) < 0)
        r = cb_err_set(list->err, ENOMEM, "out of memory");
    else if (ftell(list->out) > (long)CB_HTTP_ANSWER_MAX)
        r = cb_err_set(list->err, EINVAL,
                       "the answer is above %u MiB: ask for fewer recaps (last=), for less time "
                       "(from=, to=) or for one machine or name",
                       CB_HTTP_ANSWER_MAX >> 20);
    json_decref(json);
    return r;
}

static int read_list(const struct request *request, struct cb_store_recap_filter *filter,
                     enum cb_idle_policy *ret_policy, struct cb_err *err)
{
    uint64_t last = 0;
    int r = cb_http_arg_number(request, "last", RECAPS_DEFAULT, RECAPS_MAX, &last, err);

    *filter = (struct cb_store_recap_filter){.machine = cb_http_arg(request, "machine"),
                                             .name = cb_http_arg(request, "name"),
                                             .limit = (unsigned)last};
    if (r == 0)
        r = cb_http_arg_time(request, "from", 0, &filter->from_wall_ns, err);
    if (r == 0)
        r = cb_http_arg_time(request, "to", INT64_MAX, &filter->to_wall_ns, err);
    return r < 0 ? r : cb_http_arg_idle(request, ret_policy, err);
}

static int write_list(struct cb_http *http, const struct cb_store_recap_filter *filter,
                      struct list *list)
{
    struct cb_store *store = NULL;
    int r = cb_http_take_store(http, &store, list->err);

    if (r < 0)
        return r;
    (void)fputs("{\"recaps\":[", list->out);
    r = cb_store_recaps(store, filter, add_recap, list, list->err);
    (void)fputs("]}", list->out);
    cb_http_give_store(http, store);
    return r;
}

int cb_http_recaps(struct cb_http *http, const struct request *request, struct reply *ret_reply,
                   struct cb_err *err)
{
    struct cb_store_recap_filter filter;
    struct list list = {.err = err};
    char *text = NULL;
    size_t size = 0;
    int r = read_list(request, &filter, &list.policy, err);

    if (r < 0)
        return r;
    list.out = open_memstream(&text, &size);
    r = list.out ? write_list(http, &filter, &list) : cb_err_set(err, ENOMEM, "out of memory");
    if (list.out && fclose(list.out) != 0 && r == 0)
        r = cb_err_set(err, ENOMEM, "out of memory");
    if (r < 0) {
        free(text);
        return r;
    }
    *ret_reply = (struct reply){
        .status = MHD_HTTP_OK, .text = text, .size = size, .type = "application/json"};
    return 0;
}
