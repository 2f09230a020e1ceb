/* SPDX-License-Identifier: Apache-2.0 */
/* http.c - the daemon: connections, limits, routes, replies. See http.h. */
#include "formula/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "formula/http_private.h"
#include "formula/wall.h"
#include "lib/err.h"
#include "lib/log.h"
#include "lib/parse.h"

#define BODY_MAX 65536
#define IDLE_SECONDS 60
#define MEMORY_LIMIT 32768 /* of one connection: request line and headers */
#define BACKLOG 64

/* What powerapi-g5k's listener was asked: /<database>/<machine> and no JSON. */
#define RECAP_FORM "/*/*"

static const struct route {
    const char *method;
    const char *path; /* '*' stands for one part without '/' */
    handler *handle;
} routes[] = {
    {"GET", "/healthz", cb_http_health},
    {"GET", "/metrics", cb_http_metrics},
    {"GET", "/api/v1/machines", cb_http_machines},
    {"GET", "/api/v1/power", cb_http_power},
    {"GET", "/api/v1/metrics", cb_http_usage},
    {"GET", "/api/v1/recaps", cb_http_recaps},
    {"POST", "/api/v1/tests", cb_http_begin_test},
    {"DELETE", "/api/v1/tests/*", cb_http_give_up_test},
    {"POST", "/api/v1/tests/*/end", cb_http_end_test},
    {"GET", "/api/v1/tests/*/recap", cb_http_test_recap},
    {"POST", RECAP_FORM, cb_http_post_recap}, /* the last: any two parts but /api/... */
};

/* ---- what handlers use ---- */

int cb_http_take_store(struct cb_http *http, struct cb_store **ret_store, struct cb_err *err)
{
    struct cb_store *store = NULL;

    (void)pthread_mutex_lock(&http->mutex);
    if (http->n_idle)
        store = http->idle[--http->n_idle];
    (void)pthread_mutex_unlock(&http->mutex);
    if (store) {
        *ret_store = store;
        return 0;
    }
    return cb_store_open(http->o.database, CB_STORE_WRITE, ret_store, err);
}

void cb_http_give_store(struct cb_http *http, struct cb_store *store)
{
    (void)pthread_mutex_lock(&http->mutex);
    if (http->n_idle < STORES_KEPT) {
        http->idle[http->n_idle++] = store;
        store = NULL;
    }
    (void)pthread_mutex_unlock(&http->mutex);
    (void)cb_store_close(store);
}

const char *cb_http_arg(const struct request *request, const char *key)
{
    return MHD_lookup_connection_value(request->connection, MHD_GET_ARGUMENT_KIND, key);
}

int cb_http_arg_number(const struct request *request, const char *key, uint64_t def, uint64_t max,
                       uint64_t *ret_value, struct cb_err *err)
{
    const char *text = cb_http_arg(request, key);
    uint64_t value = def;

    if (text && (cb_parse_u64(text, &value) < 0 || value > max))
        return cb_err_set(err, EINVAL, "%s: '%.40s' is not a whole number of 0 to %llu", key, text,
                          (unsigned long long)max);
    *ret_value = value;
    return 0;
}

int cb_http_arg_time(const struct request *request, const char *key, uint64_t def,
                     uint64_t *ret_wall_ns, struct cb_err *err)
{
    const char *text = cb_http_arg(request, key);

    *ret_wall_ns = def;
    if (text && cb_wall_parse(text, ret_wall_ns) < 0)
        return cb_err_set(err, EINVAL,
                          "%s: '%.40s' is not a time such as 2026-11-22T14:00:00Z, nor seconds "
                          "since 1970",
                          key, text);
    return 0;
}

int cb_http_arg_idle(const struct request *request, enum cb_idle_policy *ret_policy,
                     struct cb_err *err)
{
    const char *text = cb_http_arg(request, "idle");

    *ret_policy = CB_IDLE_NONE;
    if (text && cb_idle_parse(text, ret_policy) < 0)
        return cb_err_set(err, EINVAL, "idle: '%.20s' is none of none, proportional, equal", text);
    return 0;
}

int cb_http_reply_json(struct reply *ret_reply, unsigned status, json_t *json, struct cb_err *err)
{
    char *text = json ? json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(15)) : NULL;

    json_decref(json);
    if (!text)
        return cb_err_set(err, ENOMEM, "out of memory");
    *ret_reply = (struct reply){
        .status = status, .text = text, .size = strlen(text), .type = "application/json"};
    return 0;
}

/* ---- replies ---- */

static unsigned status_of(int r)
{
    switch (-r) {
    case EINVAL:
        return MHD_HTTP_BAD_REQUEST;
    case ENOENT:
        return MHD_HTTP_NOT_FOUND;
    case EEXIST:
        return MHD_HTTP_CONFLICT;
    case EACCES:
        return MHD_HTTP_FORBIDDEN;
    case EDQUOT:
        return MHD_HTTP_TOO_MANY_REQUESTS;
    case EFBIG:
        return MHD_HTTP_CONTENT_TOO_LARGE;
    default:
        return MHD_HTTP_SERVICE_UNAVAILABLE;
    }
}

static enum MHD_Result send_reply(struct MHD_Connection *connection, struct reply *reply,
                                  const char *allow)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(reply->size, reply->text, MHD_RESPMEM_MUST_FREE);
    enum MHD_Result r;

    if (!response) {
        free(reply->text);
        return MHD_NO;
    }
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, reply->type);
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    (void)MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    if (allow)
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, allow);
    r = MHD_queue_response(connection, reply->status, response);
    MHD_destroy_response(response);
    return r;
}

static enum MHD_Result send_error(struct MHD_Connection *connection, unsigned status,
                                  const char *text, const char *allow)
{
    struct reply reply;
    struct cb_err err = {0};
    json_t *json = json_object();

    /* A text with bytes that are no UTF-8 is not repeated. */
    if (json && json_object_set_new(json, "error", json_string(text)) < 0)
        (void)json_object_set_new(json, "error", json_string("bad request"));
    if (cb_http_reply_json(&reply, status, json, &err) < 0)
        return MHD_NO;
    return send_reply(connection, &reply, allow);
}

/* ---- routes ---- */

/* Is @path /<database>/<machine>? The database's name is ours to choose, so only its place counts.
 */
static bool is_recap_form(const char *path, char ret_machine[CB_NAME_SIZE])
{
    const char *slash = path[0] == '/' ? strchr(path + 1, '/') : NULL;

    if (!slash || slash == path + 1 || !slash[1] || strchr(slash + 1, '/') ||
        strlen(slash + 1) >= CB_NAME_SIZE || strncmp(path, "/api/", strlen("/api/")) == 0)
        return false;
    (void)snprintf(ret_machine, CB_NAME_SIZE, "%s", slash + 1);
    return true;
}

/* Does @path have the form of @pattern? *@ret_id becomes what stands at '*', cut to @size. */
static bool matches(const char *pattern, const char *path, char *ret_id, size_t size)
{
    const char *star = strchr(pattern, '*');
    size_t before = star ? (size_t)(star - pattern) : strlen(pattern);
    size_t n;

    ret_id[0] = '\0';
    if (!star)
        return strcmp(pattern, path) == 0;
    if (strncmp(pattern, path, before) != 0)
        return false;
    n = strcspn(path + before, "/");
    if (n == 0 || strcmp(path + before + n, star + 1) != 0)
        return false;
    (void)snprintf(ret_id, size, "%.*s", (int)(n < size ? n : size - 1), path + before);
    return true;
}

/* *@ret_allow: the methods that would do, when only the method is wrong. */
static const struct route *find_route(const char *method, const char *path, char *ret_id,
                                      size_t size, char ret_machine[CB_NAME_SIZE],
                                      const char **ret_allow)
{
    if (strcmp(method, "HEAD") == 0)
        method = "GET";
    *ret_allow = NULL;
    ret_machine[0] = '\0';
    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++)
        if (routes[i].handle == cb_http_post_recap ? is_recap_form(path, ret_machine)
                                                   : matches(routes[i].path, path, ret_id, size)) {
            if (strcmp(routes[i].method, method) == 0)
                return &routes[i];
            *ret_allow = strcmp(routes[i].method, "GET") == 0 ? "GET, HEAD" : routes[i].method;
        }
    return NULL;
}

/* ---- what is refused before anything is done ---- */

static bool is_address(const char *host, size_t n)
{
    char text[64];
    struct in6_addr address;

    if (n >= sizeof(text))
        return false;
    memcpy(text, host, n);
    text[n] = '\0';
    return inet_pton(AF_INET, text, &address) == 1 || inet_pton(AF_INET6, text, &address) == 1;
}

/* A page of a name that was pointed at 127.0.0.1 says that name here. */
static bool is_our_host(const char *host)
{
    const char *end;

    if (!host)
        return true; /* no browser leaves it out */
    if (host[0] == '[') {
        end = strchr(host, ']');
        return end && is_address(host + 1, (size_t)(end - host - 1));
    }
    end = strrchr(host, ':');
    if (!end)
        end = host + strlen(host);
    return is_address(host, (size_t)(end - host)) ||
           ((size_t)(end - host) == strlen("localhost") &&
            strncasecmp(host, "localhost", (size_t)(end - host)) == 0);
}

static bool is_json(const char *type)
{
    static const char want[] = "application/json";

    return type && strncasecmp(type, want, strlen(want)) == 0 &&
           (type[strlen(want)] == '\0' || type[strlen(want)] == ';' || type[strlen(want)] == ' ');
}

static int check_request(const struct cb_http *http, struct MHD_Connection *connection,
                         const struct route *route, struct cb_err *err)
{
    const char *host = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Host");
    const char *type = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Content-Type");

    if (http->o.loopback && !is_our_host(host))
        return cb_err_set(err, EACCES,
                          "the host '%.60s' is not this machine: use its address or localhost",
                          host);
    if (strcmp(route->method, "POST") == 0 && route->handle != cb_http_post_recap && !is_json(type))
        return cb_err_set(err, EINVAL, "a body must come as Content-Type: application/json");
    return 0;
}

/* ---- the life of a request ---- */

struct upload {
    bool begun;
    bool zero; /* a byte 0 in the path */
    size_t size;
    bool too_large;
    char body[BODY_MAX + 1];
};

static void take_data(struct upload *upload, const char *data, size_t size)
{
    if (size > BODY_MAX - upload->size) {
        upload->too_large = true;
        return;
    }
    memcpy(upload->body + upload->size, data, size);
    upload->size += size;
    upload->body[upload->size] = '\0';
}

static int call(struct cb_http *http, const struct route *route, const struct request *request,
                bool too_large, struct reply *ret_reply, struct cb_err *err)
{
    int r = check_request(http, request->connection, route, err);

    if (r < 0)
        return r;
    if (too_large)
        return cb_err_set(err, EFBIG, "a body may have %d bytes", BODY_MAX);
    return route->handle(http, request, ret_reply, err);
}

static enum MHD_Result answer(struct cb_http *http, struct MHD_Connection *connection,
                              const char *path, const char *method, const struct upload *upload)
{
    char id[CB_TEST_ID_SIZE + 1] = "";
    char machine[CB_NAME_SIZE];
    struct request request = {.connection = connection,
                              .id = id,
                              .machine = machine,
                              .body = upload->body,
                              .body_size = upload->size};
    struct reply reply = {.status = 0};
    struct cb_err err = {0};
    const char *allow = NULL;
    const struct route *route = find_route(method, path, id, sizeof(id), machine, &allow);
    int r;

    atomic_fetch_add(&http->requests_total, 1);
    if (upload->zero)
        return send_error(connection, MHD_HTTP_BAD_REQUEST, "the path has a byte 0 in it", NULL);
    if (!route && allow) {
        (void)cb_err_set(&err, EINVAL, "this path is not for %.20s: use %s", method, allow);
        return send_error(connection, MHD_HTTP_METHOD_NOT_ALLOWED, err.text, allow);
    }
    if (!route)
        return send_error(connection, MHD_HTTP_NOT_FOUND,
                          "no such path: the API is /api/v1/{machines,tests,recaps,power,metrics}",
                          NULL);
    r = call(http, route, &request, upload->too_large, &reply, &err);
    if (r < 0) {
        cb_log_debug("http: %s %s: %s", method, path, err.text);
        return send_error(connection, status_of(r), err.text, NULL);
    }
    return send_reply(connection, &reply, NULL);
}

/* The path is decoded in place and ends at a byte 0: whether there is one is seen before only. What
 * is returned becomes the request's state. */
static void *on_uri(void *context, const char *uri, struct MHD_Connection *connection)
{
    struct upload *upload = calloc(1, sizeof(*upload));
    const char *zero = strstr(uri, "%00");

    (void)context;
    (void)connection;
    if (upload)
        upload->zero = zero && zero < uri + strcspn(uri, "?");
    return upload;
}

static enum MHD_Result on_request(void *context, struct MHD_Connection *connection,
                                  const char *path, const char *method, const char *version,
                                  const char *data, size_t *size, void **state)
{
    struct upload *upload = *state;

    (void)version;
    if (!upload)
        return MHD_NO;
    if (!upload->begun) {
        upload->begun = true;
        return MHD_YES;
    }
    if (*size) {
        take_data(upload, data, *size);
        *size = 0;
        return MHD_YES;
    }
    return answer(context, connection, path, method, upload);
}

static void on_completed(void *context, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode code)
{
    (void)context;
    (void)connection;
    (void)code;
    free(*state);
    *state = NULL;
}

/* ---- starting and stopping ---- */

static int split_address(const char *address, char *host, size_t size, const char **ret_port,
                         struct cb_err *err)
{
    const char *colon = strrchr(address, ':');
    size_t n = colon ? (size_t)(colon - address) : 0;
    uint64_t port = 0;

    if (!colon || n >= size || cb_parse_u64(colon + 1, &port) < 0 || port > UINT16_MAX)
        return cb_err_set(err, EINVAL, "--http: '%.60s' is not of the form ADDRESS:PORT", address);
    if (n >= 2 && address[0] == '[' && address[n - 1] == ']')
        (void)snprintf(host, size, "%.*s", (int)n - 2, address + 1);
    else
        (void)snprintf(host, size, "%.*s", (int)n, address);
    *ret_port = colon + 1;
    return 0;
}

static bool is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET)
        return (ntohl(((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr) >>
                24) == 127;
    return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr);
}

static int bind_one(const struct addrinfo *info, const char *address, struct cb_err *err)
{
    cb_auto_close int fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int one = 1;

    if (fd < 0)
        return cb_err_set(err, errno, "--http %.60s: %s", address, strerror(errno));
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fd, info->ai_addr, info->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0) {
        if (errno == EADDRINUSE)
            return cb_err_set(err, EADDRINUSE,
                              "HTTP address %.60s is in use: stop what listens there or give "
                              "another one with --http",
                              address);
        return cb_err_set(err, errno, "--http %.60s: %s", address, strerror(errno));
    }
    return cb_take_fd(fd);
}

static void describe(int fd, char ret_text[64])
{
    struct sockaddr_storage address = {0};
    socklen_t size = sizeof(address);
    char host[INET6_ADDRSTRLEN] = "?";

    (void)getsockname(fd, (struct sockaddr *)&address, &size);
    if (address.ss_family == AF_INET) {
        const struct sockaddr_in *v4 = (const void *)&address;

        (void)inet_ntop(AF_INET, &v4->sin_addr, host, sizeof(host));
        (void)snprintf(ret_text, 64, "%s:%u", host, ntohs(v4->sin_port));
    } else {
        const struct sockaddr_in6 *v6 = (const void *)&address;

        (void)inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof(host));
        (void)snprintf(ret_text, 64, "[%.46s]:%u", host, ntohs(v6->sin6_port));
    }
}

int cb_http_listen(const char *address, int *ret_fd, bool *ret_loopback, char ret_text[64],
                   struct cb_err *err)
{
    static const struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *info = NULL;
    char host[256] = "";
    const char *port = NULL;
    int fd;
    int r = split_address(address, host, sizeof(host), &port, err);

    if (r < 0)
        return r;
    r = getaddrinfo(host[0] && strcmp(host, "*") != 0 ? host : NULL, port, &hints, &info);
    if (r != 0)
        return cb_err_set(err, EINVAL, "--http: '%.60s' is not an address with a port: %s", address,
                          gai_strerror(r));
    fd = bind_one(info, address, err);
    if (fd >= 0) {
        *ret_loopback = is_loopback(info->ai_addr);
        describe(fd, ret_text);
        *ret_fd = fd;
    }
    freeaddrinfo(info);
    return fd < 0 ? fd : 0;
}

int cb_http_start(const struct cb_http_options *options, struct cb_http **ret_http,
                  struct cb_err *err)
{
    cb_auto_close int fd = options->listen_fd;
    struct cb_http *http = calloc(1, sizeof(*http));

    if (!http)
        return cb_err_set(err, ENOMEM, "out of memory");
    http->o = *options;
    (void)pthread_mutex_init(&http->mutex, NULL);
    http->daemon = MHD_start_daemon(
        MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL, 0, NULL,
        NULL, on_request, http, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)CB_HTTP_CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_SECONDS,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)MEMORY_LIMIT, MHD_OPTION_NOTIFY_COMPLETED,
        on_completed, NULL, MHD_OPTION_URI_LOG_CALLBACK, on_uri, NULL, MHD_OPTION_END);
    if (!http->daemon) {
        (void)pthread_mutex_destroy(&http->mutex);
        free(http);
        return cb_err_set(err, EIO, "the HTTP server does not start");
    }
    (void)cb_take_fd(fd); /* the daemon closes it */
    *ret_http = http;
    return 0;
}

struct cb_http *cb_http_stop(struct cb_http *http)
{
    if (!http)
        return NULL;
    MHD_stop_daemon(http->daemon);
    for (size_t i = 0; i < http->n_idle; i++)
        (void)cb_store_close(http->idle[i]);
    (void)pthread_mutex_destroy(&http->mutex);
    free(http);
    return NULL;
}
