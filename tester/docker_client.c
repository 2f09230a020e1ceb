/* SPDX-License-Identifier: Apache-2.0 */
/* docker_client.c - see docker_client.h. */
#include "tester/docker_client.h"

#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>

#include "lib/clock.h"
#include "lib/err.h"
#include "lib/parse.h"
#include "tester/docker_spec.h"
#include "tester/rest.h"

#define VERSION_MAX_MINOR 51 /* the newest 1.x that this was read against */
#define CALL_NS (60 * CB_NS_PER_S)
#define START_NS (300 * CB_NS_PER_S)
#define PING_NS (5 * CB_NS_PER_S)
#define REMOVE_NS (30 * CB_NS_PER_S)
#define REMOVE_TRIES 5
#define PULL_LINE_MAX 65536

struct cb_docker_client {
    struct cb_rest *rest;
    int wake_fd;
    char version[16];
    struct cb_rest_transfer *output, *exit;
    cb_docker_client_output *on_output;
    void *output_arg;
};

/* The path below the version agreed on; free() it. NULL: out of memory. */
__attribute__((format(printf, 2, 0))) static char *versioned(const struct cb_docker_client *client,
                                                             const char *path, va_list ap)
{
    cb_auto_free char *below = NULL;
    char *full = NULL;

    if (vasprintf(&below, path, ap) < 0) {
        below = NULL;
        return NULL;
    }
    if (asprintf(&full, "%s%s%s", client->version[0] ? "/v" : "", client->version, below) < 0)
        return NULL;
    return full;
}

/* 2xx and 304 (already so) are 0. */
static int check_status(const struct cb_rest_reply *reply, struct cb_err *err)
{
    long status = reply->status;
    json_t *json;
    const char *message = NULL;
    int code;

    if (status / 100 == 2 || status == 304)
        return 0;
    code = status == 404 ? ENOENT : status == 400 ? EINVAL : status == 409 ? EBUSY : EPROTO;
    json = json_loadb(reply->body, reply->size, 0, NULL);
    if (json_unpack(json, "{s:s}", "message", &message) == 0)
        (void)cb_err_set(err, code, "%s", message);
    else
        (void)cb_err_set(err, code, "Docker answered with status %ld", status);
    json_decref(json);
    return -code;
}

__attribute__((format(printf, 5, 6))) static int call(struct cb_docker_client *client,
                                                      const struct cb_rest_request *request,
                                                      struct cb_rest_reply *ret_reply,
                                                      struct cb_err *err, const char *path, ...)
{
    struct cb_rest_request full = *request;
    struct cb_rest_reply reply;
    va_list ap;
    int r;

    va_start(ap, path);

    cb_auto_free char *full_path = versioned(client, path, ap);

    va_end(ap);
    if (!full_path)
        return cb_err_set(err, ENOMEM, "out of memory");
    full.path = full_path;
    r = cb_rest_call(client->rest, &full, &reply, err);
    if (r < 0)
        return r;
    r = check_status(&reply, err);
    if (r == 0 && ret_reply)
        *ret_reply = reply;
    else
        cb_rest_reply_clear(&reply);
    return r;
}

/* A POST that runs on. */
__attribute__((format(printf, 6, 7))) static int begin(struct cb_docker_client *client,
                                                       cb_rest_sink *sink, void *arg,
                                                       struct cb_rest_transfer **ret_transfer,
                                                       struct cb_err *err, const char *path, ...)
{
    struct cb_rest_request request = {.method = "POST"};
    va_list ap;

    va_start(ap, path);

    cb_auto_free char *full_path = versioned(client, path, ap);

    va_end(ap);
    if (!full_path)
        return cb_err_set(err, ENOMEM, "out of memory");
    request.path = full_path;
    return cb_rest_start(client->rest, &request, sink, arg, ret_transfer, err);
}

/* "1.<minor>" to its minor; -EINVAL for anything else. */
static int parse_version(const char *text, uint64_t *ret_minor)
{
    return strncmp(text, "1.", 2) == 0 ? cb_parse_u64(text + 2, ret_minor) : -EINVAL;
}

/* The newest version both know. An engine that is newer than us may have given up the versions we
 * know; /version says from where on it listens. */
static int agree_on_version(struct cb_docker_client *client, const char *offered,
                            struct cb_err *err)
{
    const struct cb_rest_request request = {.method = "GET", .timeout_ns = CALL_NS};
    struct cb_rest_reply reply;
    const char *lowest = NULL;
    uint64_t minor = 0;
    uint64_t low = 0;
    json_t *json;
    int r;

    if (parse_version(offered, &minor) < 0)
        return 0; /* an engine that names none gets requests without one */
    if (minor > VERSION_MAX_MINOR) {
        r = call(client, &request, &reply, err, "/version");
        if (r < 0)
            return cb_err_prefix(err, r, "Docker's version");
        json = json_loadb(reply.body, reply.size, 0, NULL);
        minor = VERSION_MAX_MINOR;
        if (json_unpack(json, "{s:s}", "MinAPIVersion", &lowest) == 0 &&
            parse_version(lowest, &low) == 0 && low > minor)
            minor = low;
        json_decref(json);
        cb_rest_reply_clear(&reply);
    }
    (void)snprintf(client->version, sizeof(client->version), "1.%u", (unsigned)minor);
    return 0;
}

static int ping_error(int r, const char *host, struct cb_err *err)
{
    char why[CB_ERR_TEXT] = "";

    if (err)
        memcpy(why, err->text, sizeof(why));
    if (r == -EACCES)
        return cb_err_set(err, EACCES,
                          "no rights on Docker's socket %s: use sudo, or join the group docker",
                          host);
    if (r == -EINTR)
        return r;
    return cb_err_set(err, -r,
                      "cannot reach Docker at %s (%.200s): start dockerd, or set DOCKER_HOST", host,
                      why);
}

int cb_docker_client_open(const char *host, int wake_fd, struct cb_docker_client **ret_client,
                          struct cb_err *err)
{
    const struct cb_rest_request request = {.method = "GET", .timeout_ns = PING_NS};
    struct cb_docker_client *client;
    struct cb_rest_reply reply;
    int r;

    if (strncmp(host, "unix:///", 8) != 0)
        return cb_err_set(
            err, EINVAL,
            "DOCKER_HOST '%.120s' is not unix:///path: a test runs on the machine that "
            "is measured",
            host);
    client = calloc(1, sizeof(*client));
    if (!client)
        return cb_err_set(err, ENOMEM, "out of memory");
    client->wake_fd = wake_fd;
    r = cb_rest_new(host, wake_fd, &client->rest, err);
    if (r == 0) {
        r = call(client, &request, &reply, err, "/_ping");
        if (r == 0) {
            r = agree_on_version(client, reply.api_version, err);
            cb_rest_reply_clear(&reply);
        } else {
            r = ping_error(r, host, err);
        }
    }
    if (r < 0) {
        (void)cb_docker_client_close(client);
        return r;
    }
    *ret_client = client;
    return 0;
}

struct cb_docker_client *cb_docker_client_close(struct cb_docker_client *client)
{
    if (client) {
        client->output = cb_rest_transfer_free(client->output);
        client->exit = cb_rest_transfer_free(client->exit);
        client->rest = cb_rest_free(client->rest);
        free(client);
    }
    return NULL;
}

void cb_docker_client_set_wake(struct cb_docker_client *client, int wake_fd)
{
    client->wake_fd = wake_fd;
    cb_rest_set_wake(client->rest, wake_fd);
}

const char *cb_docker_client_version(const struct cb_docker_client *client)
{
    return client->version;
}

int cb_docker_client_find_image(struct cb_docker_client *client, const char *image,
                                struct cb_err *err)
{
    const struct cb_rest_request request = {.method = "GET", .timeout_ns = CALL_NS};

    return call(client, &request, NULL, err, "/images/%s/json", image);
}

/* The lines of a pull's progress; an error comes as one of them, after status 200. */
struct pull {
    char line[PULL_LINE_MAX];
    size_t size;
    bool too_long;
};

static int take_pull_line(struct pull *pull, struct cb_err *err)
{
    json_t *json = pull->too_long ? NULL : json_loadb(pull->line, pull->size, 0, NULL);
    const char *text = NULL;
    int r = 0;

    if (json_unpack(json, "{s:s}", "error", &text) == 0)
        r = cb_err_set(err, EPROTO, "%s", text);
    json_decref(json);
    pull->size = 0;
    pull->too_long = false;
    return r;
}

static int on_pull(void *arg, const uint8_t *bytes, size_t size, struct cb_err *err)
{
    struct pull *pull = arg;

    for (size_t i = 0; i < size; i++) {
        if (bytes[i] == '\n') {
            int r = take_pull_line(pull, err);

            if (r < 0)
                return r;
        } else if (pull->size < sizeof(pull->line)) {
            pull->line[pull->size++] = (char)bytes[i];
        } else {
            pull->too_long = true;
        }
    }
    return 0;
}

/* Run a started transfer to its end. */
static int finish(struct cb_docker_client *client, struct cb_rest_transfer *transfer,
                  struct cb_err *err)
{
    struct cb_rest_reply reply;
    int r = 0;

    while (r == 0 && !cb_rest_is_done(transfer))
        r = cb_rest_step(client->rest, CALL_NS, err);
    if (r < 0)
        return r;
    r = cb_rest_result(transfer, &reply, err);
    if (r < 0)
        return r;
    r = check_status(&reply, err);
    cb_rest_reply_clear(&reply);
    return r;
}

int cb_docker_client_pull(struct cb_docker_client *client, const char *image, struct cb_err *err)
{
    /* Without a tag the engine would fetch all of them. */
    const char *last = strrchr(image, '/');
    const char *tag = strpbrk(last ? last : image, ":@") ? "" : "&tag=latest";
    cb_auto_free struct pull *pull = calloc(1, sizeof(*pull));
    cb_auto_free char *from = cb_rest_escape(image);
    struct cb_rest_transfer *transfer;
    int r;

    if (!pull || !from)
        return cb_err_set(err, ENOMEM, "out of memory");
    r = begin(client, on_pull, pull, &transfer, err, "/images/create?fromImage=%s%s", from, tag);
    if (r < 0)
        return r;
    r = finish(client, transfer, err);
    if (r == 0)
        r = take_pull_line(pull, err);
    transfer = cb_rest_transfer_free(transfer);
    return r;
}

/* The warning that a limit is not applied. Others, say on the network, are about the engine and
 * would come with every container. */
static const char *limit_warning(const json_t *warnings)
{
    for (size_t i = 0; i < json_array_size(warnings); i++) {
        const char *text = json_string_value(json_array_get(warnings, i));

        if (text && strstr(text, "iscarded"))
            return text;
    }
    return "";
}

/* {"Id":"...","Warnings":[...]|null} */
static int take_created(const struct cb_rest_reply *reply, char ret_id[CB_DOCKER_CLIENT_ID_SIZE],
                        char ret_warning[256], struct cb_err *err)
{
    json_t *json = json_loadb(reply->body, reply->size, 0, NULL);
    const char *id = json_string_value(json_object_get(json, "Id"));
    const char *warning = limit_warning(json_object_get(json, "Warnings"));
    int r = 0;

    if (id && strlen(id) == CB_DOCKER_CLIENT_ID_SIZE - 1 &&
        strspn(id, "0123456789abcdef") == CB_DOCKER_CLIENT_ID_SIZE - 1) {
        memcpy(ret_id, id, CB_DOCKER_CLIENT_ID_SIZE);
        (void)snprintf(ret_warning, 256, "%s", warning);
    } else {
        r = cb_err_set(err, EBADMSG, "Docker's answer to create has no container id");
    }
    json_decref(json);
    return r;
}

int cb_docker_client_create(struct cb_docker_client *client,
                            const struct cb_docker_client_spec *spec,
                            char ret_id[CB_DOCKER_CLIENT_ID_SIZE], char ret_warning[256],
                            struct cb_err *err)
{
    cb_auto_free char *body = NULL;
    struct cb_rest_request request = {.method = "POST", .timeout_ns = CALL_NS};
    struct cb_rest_reply reply;
    int r = cb_docker_spec_format(spec, &body, err);

    if (r < 0)
        return r;
    request.body = body;
    cb_rest_set_wake(client->rest, -1);
    r = call(client, &request, &reply, err, "/containers/create?name=%s", spec->container_name);
    cb_rest_set_wake(client->rest, client->wake_fd);
    if (r < 0)
        return r;
    r = take_created(&reply, ret_id, ret_warning, err);
    cb_rest_reply_clear(&reply);
    return r;
}

static int on_output(void *arg, const uint8_t *bytes, size_t size, struct cb_err *err)
{
    struct cb_docker_client *client = arg;

    return client->on_output(client->output_arg, bytes, size, err);
}

int cb_docker_client_attach(struct cb_docker_client *client, const char *id,
                            cb_docker_client_output *output, void *arg, struct cb_err *err)
{
    uint64_t end_ns = cb_clock_boot_ns() + CALL_NS;
    int r;

    client->on_output = output;
    client->output_arg = arg;
    r = begin(client, on_output, client, &client->output, err,
              "/containers/%s/attach?stream=1&stdout=1&stderr=1", id);
    while (r == 0 && !cb_rest_has_headers(client->output) && !cb_rest_is_done(client->output)) {
        uint64_t now_ns = cb_clock_boot_ns();

        r = now_ns < end_ns ? cb_rest_step(client->rest, end_ns - now_ns, err)
                            : cb_err_set(err, ETIMEDOUT, "Docker does not attach to the output");
    }
    if (r == 0 && cb_rest_is_done(client->output))
        r = finish(client, client->output, err);
    return r;
}

int cb_docker_client_start(struct cb_docker_client *client, const char *id, struct cb_err *err)
{
    const struct cb_rest_request request = {.method = "POST", .timeout_ns = START_NS};

    return call(client, &request, NULL, err, "/containers/%s/start", id);
}

int cb_docker_client_start_code(const char *text)
{
    static const char *const not_found[] = {"executable file not found",
                                            "no such file or directory"};
    static const char *const not_executable[] = {"permission denied", "is a directory",
                                                 "exec format error"};

    /* A missing device or mount source is not the command's fault. */
    if (!strstr(text, "exec"))
        return 125;
    for (size_t i = 0; i < sizeof(not_found) / sizeof(not_found[0]); i++)
        if (strstr(text, not_found[i]))
            return 127;
    for (size_t i = 0; i < sizeof(not_executable) / sizeof(not_executable[0]); i++)
        if (strstr(text, not_executable[i]))
            return 126;
    return 125;
}

int cb_docker_client_wait(struct cb_docker_client *client, const char *id, struct cb_err *err)
{
    return begin(client, NULL, NULL, &client->exit, err, "/containers/%s/wait", id);
}

/* {"StatusCode":3,"Error":null|{"Message":"..."}} */
static int take_exit(struct cb_rest_transfer *transfer, int *ret_code, struct cb_err *err)
{
    struct cb_rest_reply reply;
    const char *message;
    json_t *json;
    json_t *code;
    int r = cb_rest_result(transfer, &reply, err);

    if (r < 0)
        return r;
    r = check_status(&reply, err);
    json = json_loadb(reply.body, reply.size, 0, NULL);
    code = json_object_get(json, "StatusCode");
    message = json_string_value(json_object_get(json_object_get(json, "Error"), "Message"));
    if (r == 0 && message && *message)
        r = cb_err_set(err, EPROTO, "%s", message);
    else if (r == 0 && (!json_is_integer(code) || json_integer_value(code) < 0 ||
                        json_integer_value(code) > 255))
        r = cb_err_set(err, EBADMSG, "Docker's answer to wait has no exit code");
    if (r == 0)
        *ret_code = (int)json_integer_value(code);
    json_decref(json);
    cb_rest_reply_clear(&reply);
    return r;
}

/* The output has ended by itself: was that its end, or was it broken off? */
static int take_output_end(struct cb_docker_client *client, struct cb_err *err)
{
    int r = finish(client, client->output, err);

    client->output = cb_rest_transfer_free(client->output);
    return r < 0 ? cb_err_prefix(err, r, "the container's output") : 0;
}

int cb_docker_client_step(struct cb_docker_client *client, uint64_t timeout_ns,
                          struct cb_docker_client_state *ret_state, struct cb_err *err)
{
    struct cb_docker_client_state state = *ret_state;
    /* Another call may have moved them to their end: then there is nothing to wait for. */
    bool ended = (client->exit && cb_rest_is_done(client->exit)) ||
                 (client->output && cb_rest_is_done(client->output));
    int r = cb_rest_step(client->rest, ended ? 0 : timeout_ns, err);

    if (client->exit && cb_rest_is_done(client->exit)) {
        r = take_exit(client->exit, &state.exit_code, err);
        client->exit = cb_rest_transfer_free(client->exit);
        if (r < 0)
            return cb_err_prefix(err, r, "lost contact with Docker");
        state.exited = true;
    }
    if (r == 0 && client->output && cb_rest_is_done(client->output)) {
        state.output_ended = true;
        r = take_output_end(client, err);
    }
    if (r == 0)
        *ret_state = state;
    return r;
}

int cb_docker_client_kill(struct cb_docker_client *client, const char *id, struct cb_err *err)
{
    const struct cb_rest_request request = {.method = "POST", .timeout_ns = CALL_NS};
    int r = call(client, &request, NULL, err, "/containers/%s/kill", id);

    return r == -EBUSY || r == -ENOENT ? 0 : r;
}

int cb_docker_client_remove(struct cb_docker_client *client, const char *id, struct cb_err *err)
{
    const struct cb_rest_request request = {.method = "DELETE", .timeout_ns = REMOVE_NS};
    int r = 0;

    for (int tries = 0; tries < REMOVE_TRIES; tries++) {
        if (tries > 0) /* busy for a moment: a mount, or a removal that is under way */
            (void)usleep(200000);
        r = call(client, &request, NULL, err, "/containers/%s?force=1&v=1", id);
        if (r == -ENOENT)
            return 0;
        if (r != -EBUSY && r != -EPROTO)
            return r;
    }
    return r;
}

static int list_entry(json_t *item, const char *owner_key, cb_docker_client_each *each, void *arg)
{
    const char *name = json_string_value(json_array_get(json_object_get(item, "Names"), 0));
    const char *state = json_string_value(json_object_get(item, "State"));
    struct cb_docker_client_entry entry = {
        .id = json_string_value(json_object_get(item, "Id")),
        .name = name ? name + (*name == '/') : "",
        .owner = json_string_value(json_object_get(json_object_get(item, "Labels"), owner_key)),
        .running = !state || (strcmp(state, "exited") != 0 && strcmp(state, "created") != 0 &&
                              strcmp(state, "dead") != 0),
    };

    if (!entry.id)
        return -EBADMSG;
    if (!entry.owner)
        entry.owner = "";
    each(arg, &entry);
    return 0;
}

/* The filter {"label":["key=value"]}, escaped; NULL: out of memory. */
static char *label_filter(const char *key, const char *value)
{
    json_t *json = json_pack("{s:[s++]}", "label", key, "=", value);
    cb_auto_free char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;

    json_decref(json);
    return text ? cb_rest_escape(text) : NULL;
}

int cb_docker_client_list(struct cb_docker_client *client, const char *key, const char *value,
                          const char *owner_key, cb_docker_client_each *each, void *arg,
                          struct cb_err *err)
{
    const struct cb_rest_request request = {.method = "GET", .timeout_ns = CALL_NS};
    cb_auto_free char *filter = label_filter(key, value);
    struct cb_rest_reply reply;
    json_t *list;
    json_t *item;
    size_t i;
    int r;

    if (!filter)
        return cb_err_set(err, ENOMEM, "out of memory");
    r = call(client, &request, &reply, err, "/containers/json?all=1&filters=%s", filter);
    if (r < 0)
        return r;
    list = json_loadb(reply.body, reply.size, 0, NULL);
    if (!json_is_array(list))
        r = cb_err_set(err, EBADMSG, "Docker's list of containers is no list");
    json_array_foreach(list, i, item)
    {
        if (r == 0 && list_entry(item, owner_key, each, arg) < 0)
            r = cb_err_set(err, EBADMSG, "Docker's list has a container without id");
    }
    json_decref(list);
    cb_rest_reply_clear(&reply);
    return r;
}
