/* SPDX-License-Identifier: Apache-2.0 */
/* store_influxdb.c - lines to the server over HTTP. See store_influxdb.h. */
#include "formula/store_influxdb.h"

#include <curl/curl.h>
#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

#include "lib/err.h"

#define CONNECT_MS 5000
#define TOTAL_MS 15000
#define REPLY_MAX 2048
#define LINES_MAX 5000  /* of one request */
#define SPLITS_MAX 200  /* requests to find the lines that are refused */
#define REASON_SIZE 200 /* with its NUL */

struct influxdb {
    unsigned version;
    unsigned formats;
    char option[16]; /* for messages: "--influxdb2" */
    CURL *curl;
    struct curl_slist *headers;
    char *write_url;
    char *create_url;   /* of version 1: to make the database */
    char *create_query; /* NULL: there is none */
    struct cb_influxdb_sums *sums;
    char reply[REPLY_MAX + 1];
    size_t reply_size;
};

/* ---- opening ---- */

static void init_once(void)
{
    (void)curl_global_init(CURL_GLOBAL_DEFAULT);
}

static void influxdb_close(void *state)
{
    struct influxdb *influxdb = state;

    if (!influxdb)
        return;
    curl_easy_cleanup(influxdb->curl);
    curl_slist_free_all(influxdb->headers);
    free(influxdb->write_url);
    free(influxdb->create_url);
    free(influxdb->create_query);
    (void)cb_influxdb_sums_free(influxdb->sums);
    free(influxdb);
}

static size_t take_reply(char *bytes, size_t size, size_t n, void *context)
{
    struct influxdb *influxdb = context;
    size_t room = REPLY_MAX - influxdb->reply_size;
    size_t take = size * n < room ? size * n : room;

    memcpy(influxdb->reply + influxdb->reply_size, bytes, take);
    influxdb->reply_size += take;
    influxdb->reply[influxdb->reply_size] = '\0';
    return size * n;
}

/* What is given in the URL would be seen in the list of processes. */
static int check_url(const struct influxdb *influxdb, const char *url, struct cb_err *err)
{
    const char *host = strstr(url, "://");

    if ((strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0) || !host[3] ||
        host[3] == '/' || strpbrk(url, "?# "))
        return cb_err_set(err, EINVAL, "%s: the form is http://HOST:PORT or https://HOST:PORT",
                          influxdb->option);
    if (strcspn(host + 3, "@") < strcspn(host + 3, "/"))
        return cb_err_set(err, EINVAL,
                          "%s: no user or password in the URL, it is seen by everybody: give them "
                          "by the options and files for them",
                          influxdb->option);
    return 0;
}

static char *join(CURL *curl, const char *format, const char *base, const char *one,
                  const char *two)
{
    char *first = curl_easy_escape(curl, one, 0);
    char *second = curl_easy_escape(curl, two, 0);
    char *joined = NULL;
    int length = (int)strlen(base);

    while (length > 0 && base[length - 1] == '/')
        length--;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    if (first && second && asprintf(&joined, format, length, base, first, second) < 0)
        joined = NULL;
#pragma GCC diagnostic pop
    curl_free(first);
    curl_free(second);
    return joined;
}

/* InfluxDB 1.x makes a database by a query; 'x' in double quotes, \" and \\ escaped. */
static char *create_query(CURL *curl, const char *database)
{
    char quoted[512];
    size_t n = 0;
    char *escaped;
    char *query = NULL;

    for (const char *p = database; *p && n < sizeof(quoted) - 3; p++) {
        if (*p == '"' || *p == '\\')
            quoted[n++] = '\\';
        quoted[n++] = *p;
    }
    quoted[n] = '\0';
    escaped = curl_easy_escape(curl, quoted, (int)n);
    if (escaped && asprintf(&query, "q=CREATE%%20DATABASE%%20%%22%s%%22", escaped) < 0)
        query = NULL;
    curl_free(escaped);
    return query;
}

static int set_up_urls(struct influxdb *influxdb, const struct cb_influxdb_config *config)
{
    if (config->version == 1) {
        influxdb->write_url = join(influxdb->curl, "%.*s/write?db=%s&precision=ns%s", config->url,
                                   config->database, "");
        influxdb->create_url = join(influxdb->curl, "%.*s/query%s%s", config->url, "", "");
        influxdb->create_query = create_query(influxdb->curl, config->database);
        return influxdb->write_url && influxdb->create_url && influxdb->create_query ? 0 : -ENOMEM;
    }
    influxdb->write_url = join(influxdb->curl, "%.*s/api/v2/write?org=%s&bucket=%s&precision=ns",
                               config->url, config->org, config->bucket);
    return influxdb->write_url ? 0 : -ENOMEM;
}

static int add_header(struct influxdb *influxdb, const char *text)
{
    struct curl_slist *longer = curl_slist_append(influxdb->headers, text);

    if (!longer)
        return -ENOMEM;
    influxdb->headers = longer;
    return 0;
}

static int set_up_headers(struct influxdb *influxdb, const struct cb_influxdb_config *config)
{
    int r = add_header(influxdb, "Content-Type: text/plain; charset=utf-8");

    if (r == 0)
        r = add_header(influxdb, "Content-Encoding: gzip");
    if (r == 0)
        r = add_header(influxdb, "Expect:"); /* no waiting for 100 Continue */
    if (r == 0 && config->version == 2 && config->secret && config->secret[0]) {
        char *text = NULL;

        if (asprintf(&text, "Authorization: Token %s", config->secret) < 0)
            return -ENOMEM;
        r = add_header(influxdb, text);
        free(text);
    }
    return r;
}

static void set_up_curl(struct influxdb *influxdb, const struct cb_influxdb_config *config)
{
    CURL *curl = influxdb->curl;

    (void)curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
    (void)curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)TOTAL_MS);
    (void)curl_easy_setopt(curl, CURLOPT_USERAGENT, "cbformula");
    (void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_reply);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEDATA, influxdb);
    (void)curl_easy_setopt(curl, CURLOPT_POST, 1L);
    if (config->ca_file && config->ca_file[0])
        (void)curl_easy_setopt(curl, CURLOPT_CAINFO, config->ca_file);
    if (config->version == 1 && config->user && config->user[0]) {
        (void)curl_easy_setopt(curl, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
        (void)curl_easy_setopt(curl, CURLOPT_USERNAME, config->user);
        (void)curl_easy_setopt(curl, CURLOPT_PASSWORD, config->secret ? config->secret : "");
    }
}

static int influxdb_open(const void *context, void **ret_state, struct cb_err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    const struct cb_influxdb_config *config = context;
    struct influxdb *influxdb = calloc(1, sizeof(*influxdb));
    int r;

    if (!influxdb)
        return cb_err_set(err, ENOMEM, "out of memory");
    (void)pthread_once(&once, init_once);
    influxdb->version = config->version;
    influxdb->formats = config->formats;
    (void)snprintf(influxdb->option, sizeof(influxdb->option), "--influxdb%s",
                   config->version == 2 ? "2" : "");
    r = check_url(influxdb, config->url, err);
    if (r < 0) {
        influxdb_close(influxdb);
        return r;
    }
    influxdb->curl = curl_easy_init();
    influxdb->sums = cb_influxdb_sums_new();
    if (!influxdb->curl || !influxdb->sums || set_up_urls(influxdb, config) < 0 ||
        set_up_headers(influxdb, config) < 0) {
        influxdb_close(influxdb);
        return cb_err_set(err, ENOMEM, "out of memory");
    }
    set_up_curl(influxdb, config);
    *ret_state = influxdb;
    return 0;
}

/* ---- one request ---- */

static int compress_lines(const char *bytes, size_t size, struct cb_batch *ret, struct cb_err *err)
{
    z_stream z = {0};
    int r = deflateInit2(&z, Z_BEST_SPEED, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
    char *out = NULL;

    if (r == Z_OK) {
        uLong bound = deflateBound(&z, size);

        out = malloc(bound);
        z.next_in = (Bytef *)(uintptr_t)bytes;
        z.avail_in = (uInt)size;
        z.next_out = (Bytef *)out;
        z.avail_out = (uInt)bound;
        r = out ? deflate(&z, Z_FINISH) : Z_MEM_ERROR;
        *ret = (struct cb_batch){.bytes = out, .size = z.total_out};
        (void)deflateEnd(&z);
    }
    if (r == Z_STREAM_END)
        return 0;
    free(out);
    *ret = (struct cb_batch){0};
    return cb_err_set(err, ENOMEM, "out of memory to compress");
}

/* The server's own words: of {"error": ...} or {"message": ...}, else the text; printable. */
static void reason_of(const struct influxdb *influxdb, char ret_reason[REASON_SIZE])
{
    json_t *json = json_loads(influxdb->reply, 0, NULL);
    const char *text = json_string_value(json_object_get(json, "error"));

    if (!text)
        text = json_string_value(json_object_get(json, "message"));
    (void)snprintf(ret_reason, REASON_SIZE, "%.199s", text ? text : influxdb->reply);
    for (char *p = ret_reason; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = ' ';
    json_decref(json);
}

static int perform(struct influxdb *influxdb, const char *url, long *ret_status, struct cb_err *err)
{
    CURLcode code;

    influxdb->reply_size = 0;
    influxdb->reply[0] = '\0';
    (void)curl_easy_setopt(influxdb->curl, CURLOPT_URL, url);
    code = curl_easy_perform(influxdb->curl);
    if (code != CURLE_OK)
        return cb_err_set(err, EIO, "cannot reach it: %s", curl_easy_strerror(code));
    (void)curl_easy_getinfo(influxdb->curl, CURLINFO_RESPONSE_CODE, ret_status);
    return 0;
}

/* A fresh InfluxDB 1.x has no database; where this is not allowed, the next write says so. */
static void create_database(struct influxdb *influxdb)
{
    struct curl_slist *none = NULL;
    long status;

    (void)curl_easy_setopt(influxdb->curl, CURLOPT_HTTPHEADER, none);
    (void)curl_easy_setopt(influxdb->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)-1);
    (void)curl_easy_setopt(influxdb->curl, CURLOPT_POSTFIELDS, influxdb->create_query);
    (void)perform(influxdb, influxdb->create_url, &status, NULL);
}

static int judge(struct influxdb *influxdb, long status, struct cb_stream_answer *answer,
                 struct cb_err *err)
{
    char reason[REASON_SIZE];
    curl_off_t after_s = 0;

    if (status >= 200 && status < 300)
        return 0;
    reason_of(influxdb, reason);
    if (status == 413)
        return cb_err_set(err, EMSGSIZE, "%s", reason[0] ? reason : "too large");
    if (status == 400 || status == 422)
        return cb_err_set(err, EBADMSG, "%s", reason[0] ? reason : "refused");
    (void)curl_easy_getinfo(influxdb->curl, CURLINFO_RETRY_AFTER, &after_s);
    if (after_s > 0)
        answer->retry_after_ns = (uint64_t)(after_s < 3600 ? after_s : 3600) * CB_NS_PER_S;
    return cb_err_set(err, EIO, "status %ld%s%s%s", status, reason[0] ? ": " : "", reason,
                      status == 401 || status == 403 ? " (see the options for its user or token)"
                                                     : "");
}

static int perform_write(struct influxdb *influxdb, const struct cb_batch *body, long *ret_status,
                         struct cb_err *err)
{
    (void)curl_easy_setopt(influxdb->curl, CURLOPT_HTTPHEADER, influxdb->headers);
    (void)curl_easy_setopt(influxdb->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body->size);
    (void)curl_easy_setopt(influxdb->curl, CURLOPT_POSTFIELDS, body->bytes);
    return perform(influxdb, influxdb->write_url, ret_status, err);
}

static int post(struct influxdb *influxdb, const char *bytes, size_t size,
                struct cb_stream_answer *answer, struct cb_err *err)
{
    struct cb_batch body;
    long status = 0;
    int r = compress_lines(bytes, size, &body, err);

    if (r < 0)
        return r;
    r = perform_write(influxdb, &body, &status, err);
    if (r == 0 && status == 404 && influxdb->create_query) {
        create_database(influxdb);
        r = perform_write(influxdb, &body, &status, err);
    }
    if (r == 0)
        r = judge(influxdb, status, answer, err);
    cb_batch_clear(&body);
    return r;
}

/* ---- a delivery ---- */

/* How many bytes the first @n lines have, and how many lines there are up to there. */
static size_t lines_of(const char *bytes, size_t size, size_t n, size_t *ret_lines)
{
    size_t at = 0;

    for (*ret_lines = 0; *ret_lines < n && at < size; (*ret_lines)++) {
        const char *end = memchr(bytes + at, '\n', size - at);

        at = end ? (size_t)(end - bytes) + 1 : size;
    }
    return at;
}

/* Write @n lines, and halve what is refused. *@budget bounds the requests of one delivery. */
static int write_lines(struct influxdb *influxdb, const char *bytes, size_t size, size_t n,
                       unsigned *budget, struct cb_stream_answer *answer, struct cb_err *err)
{
    struct cb_err why = {0};
    int r = post(influxdb, bytes, size, answer, &why);
    size_t first;
    size_t half;

    if (r == 0)
        return 0;
    if (r != -EBADMSG && r != -EMSGSIZE) {
        if (err)
            *err = why;
        return r;
    }
    if (n <= 1 || *budget == 0)
        return cb_stream_set_aside(answer, bytes, size, n, why.text, err);
    --*budget;
    half = lines_of(bytes, size, n / 2, &first);
    r = write_lines(influxdb, bytes, half, first, budget, answer, err);
    if (r == 0)
        r = write_lines(influxdb, bytes + half, size - half, n - first, budget, answer, err);
    return r;
}

static int influxdb_send(void *state, const struct cb_stream_delivery *delivery,
                         struct cb_stream_answer *answer, struct cb_err *err)
{
    const char *bytes = delivery->bytes;
    size_t size = delivery->size;
    unsigned budget = SPLITS_MAX;
    int r = 0;

    while (size && r == 0) {
        size_t n;
        size_t part = lines_of(bytes, size, LINES_MAX, &n);

        r = write_lines(state, bytes, part, n, &budget, answer, err);
        bytes += part;
        size -= part;
    }
    return r;
}

static void influxdb_pack(void *state, const struct cb_stream_bin *bin, struct cb_batch *batch)
{
    const struct influxdb *influxdb = state;

    cb_influxdb_pack(influxdb->formats, influxdb->sums, bin, batch);
}

const struct cb_stream_ops cb_stream_influxdb = {
    .name = "influxdb",
    .open = influxdb_open,
    .pack = influxdb_pack,
    .send = influxdb_send,
    .close = influxdb_close,
};

const struct cb_stream_ops cb_stream_influxdb2 = {
    .name = "influxdb2",
    .open = influxdb_open,
    .pack = influxdb_pack,
    .send = influxdb_send,
    .close = influxdb_close,
};
