/* SPDX-License-Identifier: Apache-2.0 */
/* rest.c - see rest.h. */
#include "tester/rest.h"

#include <curl/curl.h>
#include <errno.h>
#include <strings.h>

#include "lib/clock.h"
#include "lib/err.h"

#define UNIX_SCHEME "unix://"
#define CONNECT_TIMEOUT_MS 5000L
#define STEP_MAX_MS 60000

struct cb_rest {
    CURLM *multi;
    char *socket_path; /* NULL: TCP */
    char *base;        /* without a trailing '/' */
    int wake_fd;
};

struct cb_rest_transfer {
    struct cb_rest *rest;
    CURL *easy;
    struct curl_slist *headers;
    cb_rest_sink *sink;
    void *arg;
    char *body;
    size_t size, capacity;
    bool has_headers, done;
    CURLcode result;
    struct cb_err sink_err; /* code != 0: the sink ended it */
    char api_version[16];
    char curl_text[CURL_ERROR_SIZE];
};

int cb_rest_new(const char *address, int wake_fd, struct cb_rest **ret_rest, struct cb_err *err)
{
    bool is_unix = strncmp(address, UNIX_SCHEME, strlen(UNIX_SCHEME)) == 0;
    struct cb_rest *rest;

    if (!is_unix && strncmp(address, "http://", 7) != 0 && strncmp(address, "https://", 8) != 0)
        return cb_err_set(err, EINVAL, "'%.120s' is not an address such as http://host:port",
                          address);
    rest = calloc(1, sizeof(*rest));
    if (!rest)
        return cb_err_set(err, ENOMEM, "out of memory");
    rest->wake_fd = wake_fd;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        free(rest);
        return cb_err_set(err, ENOMEM, "libcurl does not start");
    }
    rest->multi = curl_multi_init();
    rest->base = strdup(is_unix ? "http://localhost" : address);
    rest->socket_path = is_unix ? strdup(address + strlen(UNIX_SCHEME)) : NULL;
    if (!rest->multi || !rest->base || (is_unix && !rest->socket_path)) {
        (void)cb_rest_free(rest);
        return cb_err_set(err, ENOMEM, "out of memory");
    }
    for (size_t n = strlen(rest->base); n > 0 && rest->base[n - 1] == '/'; n--)
        rest->base[n - 1] = '\0';
    *ret_rest = rest;
    return 0;
}

struct cb_rest *cb_rest_free(struct cb_rest *rest)
{
    if (rest) {
        if (rest->multi)
            (void)curl_multi_cleanup(rest->multi);
        free(rest->base);
        free(rest->socket_path);
        free(rest);
        curl_global_cleanup();
    }
    return NULL;
}

void cb_rest_set_wake(struct cb_rest *rest, int wake_fd)
{
    rest->wake_fd = wake_fd;
}

static int append(struct cb_rest_transfer *t, const uint8_t *bytes, size_t size)
{
    if (t->size + size > CB_REST_BODY_MAX)
        return cb_err_set(&t->sink_err, EMSGSIZE, "the reply is above %u MiB",
                          CB_REST_BODY_MAX >> 20);
    if (t->size + size + 1 > t->capacity) {
        size_t capacity = (t->size + size + 1) * 2;
        char *body = realloc(t->body, capacity);

        if (!body)
            return cb_err_set(&t->sink_err, ENOMEM, "out of memory");
        t->body = body;
        t->capacity = capacity;
    }
    memcpy(t->body + t->size, bytes, size);
    t->size += size;
    t->body[t->size] = '\0';
    return 0;
}

static size_t on_body(char *bytes, size_t one, size_t n, void *arg)
{
    struct cb_rest_transfer *t = arg;
    long status = 0;
    int r;

    (void)one;
    (void)curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    if (t->sink && status / 100 == 2)
        r = t->sink(t->arg, (const uint8_t *)bytes, n, &t->sink_err);
    else
        r = append(t, (const uint8_t *)bytes, n);
    if (r < 0 && t->sink_err.code == 0)
        t->sink_err.code = -r;
    return r < 0 ? 0 : n;
}

static size_t on_header(char *bytes, size_t one, size_t n, void *arg)
{
    static const char name[] = "Api-Version:";
    struct cb_rest_transfer *t = arg;
    long status = 0;

    (void)one;
    if (n > strlen(name) && strncasecmp(bytes, name, strlen(name)) == 0) {
        const char *value = bytes + strlen(name);
        size_t left = n - strlen(name);

        while (left > 0 && *value == ' ') {
            value++;
            left--;
        }
        while (left > 0 && strchr(" \r\n", value[left - 1]))
            left--;
        if (left < sizeof(t->api_version)) {
            memcpy(t->api_version, value, left);
            t->api_version[left] = '\0';
        }
    }
    (void)curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status >= 200 && n <= 2) /* the empty line */
        t->has_headers = true;
    return n;
}

static int set_up(struct cb_rest_transfer *t, const struct cb_rest_request *request)
{
    cb_auto_free char *url = NULL;
    bool has_body = request->body || strcmp(request->method, "POST") == 0;
    const char *body = request->body ? request->body : "";
    int r = CURLE_OK;

    if (asprintf(&url, "%s%s", t->rest->base, request->path) < 0) {
        url = NULL;
        return -ENOMEM;
    }
    t->headers = curl_slist_append(NULL, "Content-Type: application/json");
    if (!t->headers || !curl_slist_append(t->headers, "Expect:"))
        return -ENOMEM;
#define SET(option, value) r |= curl_easy_setopt(t->easy, (option), (value))
    SET(CURLOPT_URL, url);
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_PROXY, "");
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS);
    SET(CURLOPT_USERAGENT, "cbtester");
    SET(CURLOPT_HTTPHEADER, t->headers);
    SET(CURLOPT_WRITEFUNCTION, on_body);
    SET(CURLOPT_WRITEDATA, (void *)t);
    SET(CURLOPT_HEADERFUNCTION, on_header);
    SET(CURLOPT_HEADERDATA, (void *)t);
    SET(CURLOPT_ERRORBUFFER, t->curl_text);
    SET(CURLOPT_PRIVATE, (void *)t);
    if (t->rest->socket_path)
        SET(CURLOPT_UNIX_SOCKET_PATH, t->rest->socket_path);
    if (has_body) {
        SET(CURLOPT_POSTFIELDSIZE, (long)strlen(body));
        SET(CURLOPT_COPYPOSTFIELDS, body);
    }
    SET(CURLOPT_CUSTOMREQUEST, request->method);
#undef SET
    return r == CURLE_OK ? 0 : -ENOMEM;
}

int cb_rest_start(struct cb_rest *rest, const struct cb_rest_request *request, cb_rest_sink *sink,
                  void *arg, struct cb_rest_transfer **ret_transfer, struct cb_err *err)
{
    struct cb_rest_transfer *t = calloc(1, sizeof(*t));

    if (!t)
        return cb_err_set(err, ENOMEM, "out of memory");
    t->rest = rest;
    t->sink = sink;
    t->arg = arg;
    t->easy = curl_easy_init();
    t->body = calloc(1, 1);
    if (!t->easy || !t->body || set_up(t, request) < 0 ||
        curl_multi_add_handle(rest->multi, t->easy) != CURLM_OK) {
        (void)cb_rest_transfer_free(t);
        return cb_err_set(err, ENOMEM, "libcurl cannot prepare the request");
    }
    *ret_transfer = t;
    return 0;
}

struct cb_rest_transfer *cb_rest_transfer_free(struct cb_rest_transfer *transfer)
{
    if (transfer) {
        if (transfer->easy) {
            (void)curl_multi_remove_handle(transfer->rest->multi, transfer->easy);
            curl_easy_cleanup(transfer->easy);
        }
        curl_slist_free_all(transfer->headers);
        free(transfer->body);
        free(transfer);
    }
    return NULL;
}

/* Let libcurl do what can be done now. */
static void perform(struct cb_rest *rest)
{
    const CURLMsg *message;
    int left;

    (void)curl_multi_perform(rest->multi, &left);
    while ((message = curl_multi_info_read(rest->multi, &left))) {
        struct cb_rest_transfer *t = NULL;

        if (message->msg != CURLMSG_DONE)
            continue;
        (void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&t);
        t->done = true;
        t->result = message->data.result;
    }
}

/* Wait first, then perform: whatever happens, the caller sees it before anybody waits again. (A
 * transfer that has just been added makes libcurl's wait end at once.) */
int cb_rest_step(struct cb_rest *rest, uint64_t timeout_ns, struct cb_err *err)
{
    struct curl_waitfd wake = {.fd = rest->wake_fd, .events = CURL_WAIT_POLLIN};
    uint64_t ms = (timeout_ns + 999999) / 1000000;
    int n;

    if (ms > STEP_MAX_MS)
        ms = STEP_MAX_MS;
    if (curl_multi_poll(rest->multi, &wake, rest->wake_fd >= 0, (int)ms, &n) != CURLM_OK)
        return cb_err_set(err, EIO, "libcurl cannot wait");
    perform(rest);
    if (rest->wake_fd >= 0 && wake.revents)
        return cb_err_set(err, EINTR, "interrupted");
    return 0;
}

bool cb_rest_has_headers(const struct cb_rest_transfer *transfer)
{
    return transfer->has_headers;
}

bool cb_rest_is_done(const struct cb_rest_transfer *transfer)
{
    return transfer->done;
}

static int curl_error(const struct cb_rest_transfer *t, struct cb_err *err)
{
    const char *text = t->curl_text[0] ? t->curl_text : curl_easy_strerror(t->result);
    long os = 0;

    switch (t->result) {
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_HOST:
        (void)curl_easy_getinfo(t->easy, CURLINFO_OS_ERRNO, &os);
        if (os == EACCES || os == EPERM)
            return cb_err_set(err, EACCES, "no rights to connect");
        if (os == ENOENT)
            return cb_err_set(err, ENOENT, "no such socket");
        if (t->rest->socket_path)
            return cb_err_set(err, ECONNREFUSED, "nobody listens on the socket");
        return cb_err_set(err, ECONNREFUSED, "%s", text);
    case CURLE_OPERATION_TIMEDOUT:
        return cb_err_set(err, ETIMEDOUT, "%s", text);
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
        return cb_err_set(err, ECONNRESET, "%s", text);
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
        return cb_err_set(err, EINVAL, "%s", text);
    case CURLE_OUT_OF_MEMORY:
        return cb_err_set(err, ENOMEM, "out of memory");
    default:
        return cb_err_set(err, EIO, "%s", text);
    }
}

int cb_rest_result(struct cb_rest_transfer *transfer, struct cb_rest_reply *ret_reply,
                   struct cb_err *err)
{
    struct cb_rest_reply reply = {.size = transfer->size};

    if (transfer->sink_err.code != 0)
        return cb_err_set(err, transfer->sink_err.code, "%s", transfer->sink_err.text);
    if (transfer->result != CURLE_OK)
        return curl_error(transfer, err);
    (void)curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &reply.status);
    memcpy(reply.api_version, transfer->api_version, sizeof(reply.api_version));
    reply.body = cb_take(transfer->body);
    *ret_reply = reply;
    return 0;
}

int cb_rest_call(struct cb_rest *rest, const struct cb_rest_request *request,
                 struct cb_rest_reply *ret_reply, struct cb_err *err)
{
    uint64_t end_ns = cb_clock_boot_ns() + request->timeout_ns;
    struct cb_rest_transfer *t = NULL;
    int r = cb_rest_start(rest, request, NULL, NULL, &t, err);

    if (r < 0 || !t)
        return r;
    while (r == 0 && !t->done) {
        uint64_t now_ns = cb_clock_boot_ns();

        if (now_ns >= end_ns)
            r = cb_err_set(err, ETIMEDOUT, "no answer within %.3g s",
                           (double)request->timeout_ns / 1e9);
        else
            r = cb_rest_step(rest, end_ns - now_ns, err);
    }
    /* A reply that is there counts, even when the wake came with it. */
    if (t->done)
        r = cb_rest_result(t, ret_reply, err);
    (void)cb_rest_transfer_free(t);
    return r;
}

void cb_rest_reply_clear(struct cb_rest_reply *reply)
{
    free(reply->body);
    *reply = (struct cb_rest_reply){0};
}

char *cb_rest_escape(const char *text)
{
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    static const char hex[] = "0123456789ABCDEF";
    char *escaped = malloc(strlen(text) * 3 + 1);
    char *to = escaped;

    if (!escaped)
        return NULL;
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;

        if (strchr(plain, c)) {
            *to++ = (char)c;
        } else {
            *to++ = '%';
            *to++ = hex[c >> 4];
            *to++ = hex[c & 15];
        }
    }
    *to = '\0';
    return escaped;
}
