/* SPDX-License-Identifier: Apache-2.0 */
/* streams.c - see streams.h. */
#include "formula/streams.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "formula/store_files.h"
#include "formula/store_influxdb.h"
#include "formula/store_mongodb.h"
#include "formula/store_stream.h"
#include "lib/err.h"

#define SECRET_SIZE 4096
#define MONGODB_TTL_MIN_NS (60 * CB_NS_PER_S)

static bool is_given(const char *text)
{
    return text && text[0];
}

int cb_streams_check(const struct cb_streams_config *config, struct cb_err *err)
{
    unsigned formats;
    int r = cb_influxdb_formats_parse(config->influxdb_format, &formats, err);

    if (r < 0)
        return cb_err_prefix(err, r, "option --influxdb-format");
    r = cb_mongodb_formats_parse(config->mongodb_format, &formats, err);
    if (r < 0)
        return cb_err_prefix(err, r, "option --mongodb-format");
    if (config->mongodb_ttl_ns > 0 && config->mongodb_ttl_ns < MONGODB_TTL_MIN_NS)
        return cb_err_set(err, EINVAL, "option --mongodb-ttl: at least 1m, or 0 for never");
    return 0;
}

/* A secret's text: of the file, else of the environment, else "". Newlines at its end go. */
static int read_secret(const char *path, const char *option, const char *variable,
                       char ret_secret[SECRET_SIZE], struct cb_err *err)
{
    const char *text = getenv(variable);
    cb_auto_close int fd = -1;
    ssize_t n;

    (void)snprintf(ret_secret, SECRET_SIZE, "%s", text ? text : "");
    if (!is_given(path))
        return 0;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return cb_err_set(err, errno, "option %s: '%.200s': %s", option, path, strerror(errno));
    n = read(fd, ret_secret, SECRET_SIZE);
    if (n < 0)
        return cb_err_set(err, errno, "option %s: '%.200s': %s", option, path, strerror(errno));
    if (n == SECRET_SIZE)
        return cb_err_set(err, EINVAL, "option %s: '%.200s' is too long", option, path);
    while (n > 0 && (ret_secret[n - 1] == '\n' || ret_secret[n - 1] == '\r'))
        n--;
    ret_secret[n] = '\0';
    if (strlen(ret_secret) != (size_t)n || strpbrk(ret_secret, "\r\n"))
        return cb_err_set(err, EINVAL, "option %s: '%.200s' is not one line of text", option, path);
    return 0;
}

struct starter {
    const struct cb_streams_config *config;
    struct cb_stream_options options;
    struct cb_streams *streams;
};

static int start_one(struct starter *starter, const struct cb_stream_ops *ops, const void *config,
                     uint64_t resolution_ns, struct cb_err *err)
{
    struct cb_stream_options options = starter->options;
    int r;

    options.ops = ops;
    options.config = config;
    options.resolution_ns = resolution_ns;
    r = cb_stream_start(&options, &starter->streams->at[starter->streams->n], err);
    if (r == 0)
        starter->streams->n++;
    return r;
}

static int start_influxdb(struct starter *starter, struct cb_err *err)
{
    const struct cb_streams_config *c = starter->config;
    char secret[SECRET_SIZE];
    struct cb_influxdb_config config = {.version = 1,
                                        .url = c->influxdb,
                                        .database = c->influxdb_database,
                                        .user = c->influxdb_user,
                                        .secret = secret,
                                        .ca_file = c->influxdb_ca_file};
    int r;

    if (!is_given(c->influxdb))
        return 0;
    r = cb_influxdb_formats_parse(c->influxdb_format, &config.formats, err);
    if (r == 0)
        r = read_secret(c->influxdb_password_file, "--influxdb-password-file",
                        "CBFORMULA_INFLUXDB_PASSWORD", secret, err);
    return r < 0 ? r
                 : start_one(starter, &cb_stream_influxdb, &config, c->influxdb_resolution_ns, err);
}

static int start_influxdb2(struct starter *starter, struct cb_err *err)
{
    const struct cb_streams_config *c = starter->config;
    char secret[SECRET_SIZE];
    struct cb_influxdb_config config = {.version = 2,
                                        .url = c->influxdb2,
                                        .org = c->influxdb2_org,
                                        .bucket = c->influxdb2_bucket,
                                        .secret = secret,
                                        .ca_file = c->influxdb_ca_file};
    int r;

    if (!is_given(c->influxdb2))
        return 0;
    r = cb_influxdb_formats_parse(c->influxdb_format, &config.formats, err);
    if (r == 0)
        r = read_secret(c->influxdb2_token_file, "--influxdb2-token-file",
                        "CBFORMULA_INFLUXDB2_TOKEN", secret, err);
    return r < 0
               ? r
               : start_one(starter, &cb_stream_influxdb2, &config, c->influxdb_resolution_ns, err);
}

static int start_mongodb(struct starter *starter, struct cb_err *err)
{
    const struct cb_streams_config *c = starter->config;
    struct cb_mongodb_config config = {.uri = c->mongodb, .ttl_ns = c->mongodb_ttl_ns};
    int r = cb_mongodb_formats_parse(c->mongodb_format, &config.formats, err);

    if (r < 0 || !is_given(c->mongodb) || config.formats == 0)
        return r;
    return start_one(starter, &cb_stream_mongodb, &config, c->mongodb_resolution_ns, err);
}

static int start_files(struct starter *starter, bool csv, struct cb_err *err)
{
    const struct cb_streams_config *c = starter->config;
    struct cb_files_config config = {.csv = csv,
                                     .dir = csv ? c->csv_dir : c->jsonl_dir,
                                     .rotate_bytes = c->files_rotate_mib << 20,
                                     .rotate_ns = c->files_rotate_ns,
                                     .keep = c->files_keep};

    if (!is_given(config.dir))
        return 0;
    return start_one(starter, csv ? &cb_stream_csv : &cb_stream_jsonl, &config,
                     c->files_resolution_ns, err);
}

static int start_jsonl(struct starter *starter, struct cb_err *err)
{
    return start_files(starter, false, err);
}

static int start_csv(struct starter *starter, struct cb_err *err)
{
    return start_files(starter, true, err);
}

int cb_streams_start(const struct cb_streams_config *config, struct cb_store *store,
                     const char *database, struct cb_notify *notify, struct cb_streams *ret_streams,
                     struct cb_err *err)
{
    static int (*const all[])(struct starter *, struct cb_err *) = {
        start_influxdb, start_influxdb2, start_mongodb, start_jsonl, start_csv,
    };
    struct starter starter = {.config = config,
                              .options = {.database = database, .notify = notify},
                              .streams = ret_streams};
    int r = cb_store_streams_rest(store, err);

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]) && r == 0; i++)
        r = all[i](&starter, err);
    return r;
}

void cb_streams_stop(struct cb_streams *streams)
{
    for (size_t i = 0; i < streams->n; i++)
        streams->at[i] = cb_stream_stop(streams->at[i]);
    streams->n = 0;
}
