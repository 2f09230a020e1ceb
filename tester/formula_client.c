/* SPDX-License-Identifier: Apache-2.0 */
/* formula_client.c - see formula_client.h. */
#include "tester/formula_client.h"

#include <errno.h>
#include <jansson.h>

#include "lib/clock.h"
#include "lib/defaults.h"
#include "lib/err.h"
#include "tester/rest.h"

#define CALL_NS (10 * CB_NS_PER_S)
#define CALL_LEAST_NS (CB_NS_PER_S / 2)
#define PING_NS (5 * CB_NS_PER_S)

struct cb_formula_client {
    struct cb_rest *rest;
    uint64_t until_ns; /* 0: none */
};

bool cb_formula_client_is_away(int r)
{
    return r == -ECONNREFUSED || r == -ECONNRESET || r == -ETIMEDOUT || r == -EAGAIN || r == -EIO;
}

static int check_status(const struct cb_rest_reply *reply, struct cb_err *err)
{
    const char *message = NULL;
    json_t *json;
    int code;

    switch (reply->status) {
    case 200:
    case 201:
    case 202:
        return 0;
    case 400:
        code = EINVAL;
        break;
    case 404:
        code = ENOENT;
        break;
    case 409:
        code = EBUSY;
        break;
    case 503:
        code = EAGAIN;
        break;
    default:
        code = EPROTO;
    }
    json = json_loadb(reply->body, reply->size, 0, NULL);
    if (json_unpack(json, "{s:s}", "error", &message) == 0)
        (void)cb_err_set(err, code, "%s", message);
    else
        (void)cb_err_set(err, code, "status %ld", reply->status);
    json_decref(json);
    return -code;
}

/* @timeout_ns, shortened to what the deadline leaves. */
static uint64_t shorten(const struct cb_formula_client *client, uint64_t timeout_ns)
{
    uint64_t now_ns = cb_clock_boot_ns();
    uint64_t left_ns = client->until_ns > now_ns ? client->until_ns - now_ns : 0;

    if (client->until_ns == 0 || left_ns >= timeout_ns)
        return timeout_ns;
    return left_ns > CALL_LEAST_NS ? left_ns : CALL_LEAST_NS;
}

static int call(struct cb_formula_client *client, const char *method, const char *path,
                const char *body, uint64_t timeout_ns, struct cb_rest_reply *ret_reply,
                struct cb_err *err)
{
    const struct cb_rest_request request = {
        .method = method, .path = path, .body = body, .timeout_ns = shorten(client, timeout_ns)};
    struct cb_rest_reply reply;
    int r = cb_rest_call(client->rest, &request, &reply, err);

    if (r < 0)
        return r;
    r = check_status(&reply, err);
    if (r == 0 && ret_reply)
        *ret_reply = reply;
    else
        cb_rest_reply_clear(&reply);
    return r;
}

/* {"status":"ok",...}: something else that answers 200 is not cbformula. */
static int check_health(struct cb_formula_client *client, struct cb_err *err)
{
    struct cb_rest_reply reply;
    const char *status = NULL;
    json_t *json;
    int r = call(client, "GET", "/healthz", NULL, PING_NS, &reply, err);

    if (r < 0)
        return r;
    json = json_loadb(reply.body, reply.size, 0, NULL);
    if (json_unpack(json, "{s:s}", "status", &status) < 0 || strcmp(status, "ok") != 0)
        r = cb_err_set(err, EBADMSG, "what answers there is no cbformula in good health");
    json_decref(json);
    cb_rest_reply_clear(&reply);
    return r;
}

int cb_formula_client_open(const char *url, int wake_fd, struct cb_formula_client **ret_client,
                           struct cb_err *err)
{
    struct cb_formula_client *client = calloc(1, sizeof(*client));
    struct cb_err why = {0};
    int r;

    if (!client)
        return cb_err_set(err, ENOMEM, "out of memory");
    r = cb_rest_new(url, wake_fd, &client->rest, &why);
    if (r == 0)
        r = check_health(client, &why);
    if (r < 0) {
        (void)cb_formula_client_close(client);
        return cb_err_set(
            err, -r,
            "cannot reach cbformula at %.120s (%.200s): start it, or set " CB_ENV_FORMULA_URL, url,
            why.text);
    }
    *ret_client = client;
    return 0;
}

struct cb_formula_client *cb_formula_client_close(struct cb_formula_client *client)
{
    if (client) {
        client->rest = cb_rest_free(client->rest);
        free(client);
    }
    return NULL;
}

void cb_formula_client_set_wake(struct cb_formula_client *client, int wake_fd)
{
    cb_rest_set_wake(client->rest, wake_fd);
}

void cb_formula_client_set_deadline(struct cb_formula_client *client, uint64_t until_ns)
{
    client->until_ns = until_ns;
}

/* The test's id, a number or a text of harmless characters, as it goes into later paths. */
static int take_test_id(const struct cb_rest_reply *reply, char ret_id[CB_FORMULA_CLIENT_TEST_SIZE],
                        struct cb_err *err)
{
    static const char harmless[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    json_t *json = json_loadb(reply->body, reply->size, 0, NULL);
    json_t *id = json_object_get(json, "test");
    const char *text = json_string_value(id);
    int r = 0;

    if (json_is_integer(id) && json_integer_value(id) >= 0)
        (void)snprintf(ret_id, CB_FORMULA_CLIENT_TEST_SIZE, "%" JSON_INTEGER_FORMAT,
                       json_integer_value(id));
    else if (text && *text && strlen(text) < CB_FORMULA_CLIENT_TEST_SIZE &&
             strspn(text, harmless) == strlen(text))
        (void)snprintf(ret_id, CB_FORMULA_CLIENT_TEST_SIZE, "%s", text);
    else
        r = cb_err_set(err, EBADMSG, "cbformula's answer has no test id");
    json_decref(json);
    return r;
}

/* free() it; NULL: a text that is not UTF-8, or out of memory. */
static char *format_begin(const struct cb_formula_client_test *test)
{
    json_t *json = json_object();
    json_t *args = json_array();
    char *text = NULL;
    int r = 0;

    for (size_t i = 0; i < test->n_args; i++)
        r |= json_array_append_new(args, json_string(test->args[i]));
    r |= json_object_set_new(json, "name", json_string(test->name));
    r |= json_object_set_new(json, "image", json_string(test->image));
    r |= json_object_set_new(json, "boot_id", json_string(test->boot_id));
    r |= json_object_set_new(json, "args", args);
    if (r == 0)
        text = json_dumps(json, JSON_COMPACT);
    json_decref(json);
    return text;
}

int cb_formula_client_begin(struct cb_formula_client *client,
                            const struct cb_formula_client_test *test,
                            char ret_id[CB_FORMULA_CLIENT_TEST_SIZE], struct cb_err *err)
{
    cb_auto_free char *body = format_begin(test);
    struct cb_rest_reply reply;
    int r;

    if (!body)
        return cb_err_set(err, EINVAL, "the name or an argument is not UTF-8 text");
    r = call(client, "POST", "/api/v1/tests", body, CALL_NS, &reply, err);
    if (r < 0)
        return r;
    r = take_test_id(&reply, ret_id, err);
    cb_rest_reply_clear(&reply);
    return r;
}

static json_t *time_or_null(bool there, uint64_t ns)
{
    return there ? json_integer((json_int_t)ns) : json_null();
}

int cb_formula_client_end(struct cb_formula_client *client, const char *id,
                          const struct cb_formula_client_end *end, struct cb_err *err)
{
    json_t *json = json_pack("{s:s, s:I, s:o, s:o, s:I, s:i}", "id", end->container_id, "begin_ns",
                             (json_int_t)end->begin_ns, "warmup_ns",
                             time_or_null(end->has_warmup, end->warmup_ns), "execution_ns",
                             time_or_null(end->has_execution, end->execution_ns), "end_ns",
                             (json_int_t)end->end_ns, "exit_code", end->exit_code);
    cb_auto_free char *body = json ? json_dumps(json, JSON_COMPACT) : NULL;
    char path[128];

    json_decref(json);
    if (!body)
        return cb_err_set(err, ENOMEM, "out of memory");
    (void)snprintf(path, sizeof(path), "/api/v1/tests/%s/end", id);
    return call(client, "POST", path, body, CALL_NS, NULL, err);
}

int cb_formula_client_give_up(struct cb_formula_client *client, const char *id, struct cb_err *err)
{
    char path[128];

    (void)snprintf(path, sizeof(path), "/api/v1/tests/%s", id);
    return call(client, "DELETE", path, NULL, CALL_NS, NULL, err);
}

/* 202 {"covered_ns","end_ns"}: -EINPROGRESS. */
static int take_progress(const struct cb_rest_reply *reply, uint64_t *ret_missing_ns,
                         struct cb_err *err)
{
    json_t *json = json_loadb(reply->body, reply->size, 0, NULL);
    json_int_t covered_ns = json_integer_value(json_object_get(json, "covered_ns"));
    json_int_t end_ns = json_integer_value(json_object_get(json, "end_ns"));

    json_decref(json);
    *ret_missing_ns =
        covered_ns >= 0 && end_ns > covered_ns ? (uint64_t)end_ns - (uint64_t)covered_ns : 0;
    return cb_err_set(err, EINPROGRESS, "the sensor's frames do not cover the end of the test yet");
}

int cb_formula_client_recap(struct cb_formula_client *client, const char *id, const char *idle,
                            unsigned wait_s, char **ret_json, uint64_t *ret_missing_ns,
                            struct cb_err *err)
{
    struct cb_rest_reply reply;
    char path[160];
    int r;

    (void)snprintf(path, sizeof(path), "/api/v1/tests/%s/recap?idle=%s&wait=%u", id, idle, wait_s);
    r = call(client, "GET", path, NULL, CALL_NS + wait_s * CB_NS_PER_S, &reply, err);
    if (r < 0)
        return r;
    if (reply.status == 202)
        r = take_progress(&reply, ret_missing_ns, err);
    else
        *ret_json = cb_take(reply.body);
    cb_rest_reply_clear(&reply);
    return r;
}
