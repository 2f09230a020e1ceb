/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_record.c - `cbformula record FILE`: stand where the server stands, and keep the frames
 * instead of attributing them. A machine's model as the server last saved it goes before its first
 * frame, so that `replay --in frames:FILE` goes on from there. A frame is acknowledged when it is
 * on disk.
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "formula/cmd.h"
#include "formula/known.h"
#include "formula/receiver.h"
#include "formula/recording.h"
#include "formula/store.h"
#include "lib/clock.h"
#include "lib/defaults.h"
#include "lib/err.h"
#include "lib/keys.h"
#include "lib/link.h"
#include "lib/log.h"

#define FLUSH_NS CB_NS_PER_S
#define MAX_STARTS 4096
#define MAX_ACKS 64

struct config {
    const char *state_dir, *listen;
    bool plain, insecure, help;
};

#define AT(member) .offset = offsetof(struct config, member)

static const struct cb_opt options[] = {
    {.key = "state-dir",
     .type = CB_OPT_STRING,
     AT(state_dir),
     .def = CB_DEFAULT_FORMULA_STATE,
     .arg = "DIR",
     .help = "the server's directory: keys, known sensors and models; the server must not run "
             "(one that runs records with --record DIR)"},
    {.key = "listen",
     .type = CB_OPT_STRING,
     AT(listen),
     .def = CB_DEFAULT_LINK_BIND,
     .arg = "ENDPOINT",
     .help = "where the sensors connect"},
    {.key = "plain", .type = CB_OPT_BOOL, AT(plain), .help = "no CURVE on the link"},
    {.key = "insecure", .type = CB_OPT_BOOL, AT(insecure), .help = "allow --plain beyond loopback"},
    {.key = "help",
     .short_key = 'h',
     .cli_only = true,
     .type = CB_OPT_BOOL,
     AT(help),
     .help = "this text"},
    {.key = NULL},
};

/* How far a sensor start has come. */
struct start {
    char id[CB_START_ID_SIZE];
    uint64_t seq;
};

struct ack {
    struct cb_link_peer peer;
    char start_id[CB_START_ID_SIZE];
    uint64_t seq;
};

struct recorder {
    const struct config *config;
    int dir_fd, signal_fd;
    struct cb_keys keys;
    struct cb_known *known;
    struct cb_store *store; /* NULL: there is no database yet */
    struct cb_link_server *link;
    struct cb_recording_writer *writer;
    uint64_t frames, due_ns;
    size_t n_acks, n_starts;
    struct ack acks[MAX_ACKS];
    struct start starts[MAX_STARTS];
};

static int usage(FILE *out)
{
    (void)fputs("usage: cbformula record [options] FILE\n\n"
                "Keep the frames of the sensors in FILE (zstd; by custom *.cbrec) for replay and\n"
                "evaluate, until Ctrl-C. It takes the server's place; nothing is attributed.\n\n",
                out);
    cb_config_help(out, options, "CBFORMULA");
    return out == stderr ? CB_CMD_USAGE : 0;
}

/* --- opening --- */

static int open_state(struct recorder *recorder, struct cb_err *err)
{
    const char *path = recorder->config->state_dir;
    char database[PATH_MAX];
    int r;

    recorder->dir_fd = cb_state_open(path, true, err);
    if (recorder->dir_fd < 0)
        return recorder->dir_fd;
    r = cb_state_lock(recorder->dir_fd, path, err);
    if (r == 0 && !recorder->config->plain) {
        bool made;

        r = cb_keys_open(recorder->dir_fd, CB_FILE_FORMULA_SECRET, CB_FILE_FORMULA_PUBLIC,
                         &recorder->keys, &made, err);
        if (r == 0)
            r = cb_known_open(recorder->dir_fd, &recorder->known, err);
    }
    if (r == 0)
        r = cb_state_database(path, database, sizeof(database), err);
    if (r < 0)
        return r;
    r = cb_store_open(database, CB_STORE_READ, &recorder->store, err);
    return r == -ENOENT ? 0 : r; /* nothing was learnt yet */
}

static int open_link(struct recorder *recorder, struct cb_err *err)
{
    const struct cb_link_server_options link = {
        .endpoint = recorder->config->listen,
        .keys = recorder->config->plain ? NULL : &recorder->keys,
        .insecure = recorder->config->insecure,
        .admit = cb_receiver_admit,
        .admit_context = recorder->known,
    };

    return cb_link_server_open(&link, &recorder->link, err);
}

static int open_signals(struct recorder *recorder, struct cb_err *err)
{
    sigset_t set;

    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGTERM);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    recorder->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (recorder->signal_fd < 0)
        return cb_err_set(err, errno, "cannot watch for signals: %s", strerror(errno));
    return 0;
}

/* --- frames --- */

struct wanted {
    const char *name;
    int64_t id;
};

static int match(void *context, const struct cb_store_machine *machine)
{
    struct wanted *wanted = context;

    if (strcmp(machine->name, wanted->name) == 0)
        wanted->id = machine->id;
    return 0;
}

/* What the server's model of this machine knows, if there is one. */
static int put_snapshot(struct recorder *recorder, const char *name, struct cb_err *err)
{
    struct wanted wanted = {.name = name};
    cb_auto_free uint8_t *bytes = NULL;
    size_t size = 0;
    int r;

    if (!recorder->store)
        return 0;
    r = cb_store_machines(recorder->store, match, &wanted, err);
    if (r < 0 || wanted.id == 0)
        return r;
    r = cb_store_snapshot(recorder->store, wanted.id, &bytes, &size, err);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    return cb_recording_snapshot(recorder->writer, name, bytes, size, err);
}

/* NULL: there are too many. A new start has seq 0. */
static struct start *find_start(struct recorder *recorder, const char *id)
{
    for (size_t i = 0; i < recorder->n_starts; i++) {
        if (strcmp(recorder->starts[i].id, id) == 0)
            return &recorder->starts[i];
    }
    if (recorder->n_starts == MAX_STARTS)
        return NULL;
    (void)snprintf(recorder->starts[recorder->n_starts].id, CB_START_ID_SIZE, "%s", id);
    return &recorder->starts[recorder->n_starts++];
}

static int flush(struct recorder *recorder, struct cb_err *err)
{
    int r = cb_recording_flush(recorder->writer, err);

    for (size_t i = 0; i < recorder->n_acks && r == 0; i++)
        r = cb_link_server_ack(recorder->link, &recorder->acks[i].peer, recorder->acks[i].start_id,
                               recorder->acks[i].seq, err);
    recorder->n_acks = 0;
    recorder->due_ns = UINT64_MAX;
    return r;
}

static int owe_ack(struct recorder *recorder, const struct cb_link_message *message,
                   struct cb_err *err)
{
    struct ack *ack = &recorder->acks[recorder->n_acks++];

    *ack = (struct ack){.peer = message->peer, .seq = message->seq};
    memcpy(ack->start_id, message->start_id, sizeof(ack->start_id));
    if (recorder->due_ns == UINT64_MAX)
        recorder->due_ns = cb_clock_boot_ns() + FLUSH_NS;
    return recorder->n_acks == MAX_ACKS ? flush(recorder, err) : 0;
}

static bool is_its_own(const struct recorder *recorder, const char *key, const char *name)
{
    const struct cb_known_entry *entry =
        recorder->known ? cb_known_by_key(recorder->known, key) : NULL;

    return !recorder->known || (entry && strcmp(entry->name, name) == 0);
}

static int keep(struct recorder *recorder, const struct cb_link_message *message,
                const struct cb_frame *frame, struct cb_err *err)
{
    struct start *start = find_start(recorder, message->start_id);
    int r = 0;

    if (!start || !is_its_own(recorder, message->key, frame->sensor))
        return cb_link_server_refuse(
            recorder->link, &message->peer, message->start_id, message->seq,
            start ? "this name belongs to another key" : "too many sensor starts in one recording",
            err);
    if (message->seq > start->seq) {
        if (start->seq == 0)
            r = put_snapshot(recorder, frame->sensor, err);
        if (r == 0)
            r = cb_recording_frame(recorder->writer, message->bytes, message->size, err);
        start->seq = message->seq;
        recorder->frames++;
    }
    return r < 0 ? r : owe_ack(recorder, message, err);
}

static int take(struct recorder *recorder, const struct cb_link_message *message,
                struct cb_err *err)
{
    struct cb_frame frame;
    struct cb_err why = {0};
    int r;

    if (message->kind == CB_LINK_MSG_HELLO)
        return cb_link_server_welcome(recorder->link, &message->peer, err);
    if (message->kind != CB_LINK_MSG_FRAME)
        return 0;
    if (cb_frame_decode(message->bytes, message->size, &frame, &why) < 0)
        return cb_link_server_refuse(recorder->link, &message->peer, message->start_id,
                                     message->seq, why.text, err);
    r = keep(recorder, message, &frame, err);
    cb_frame_clear(&frame);
    return r;
}

static bool was_asked_to_stop(const struct recorder *recorder)
{
    struct signalfd_siginfo info;

    return read(recorder->signal_fd, &info, sizeof(info)) == sizeof(info);
}

static int record(struct recorder *recorder, struct cb_err *err)
{
    int r = 0;

    cb_log_info("recording what comes to %s", cb_link_server_endpoint(recorder->link));
    while (r == 0 && !was_asked_to_stop(recorder)) {
        struct cb_link_message message;

        r = cb_link_server_poll(recorder->link, FLUSH_NS / 4, recorder->signal_fd, &message, err);
        if (r == 0)
            r = take(recorder, &message, err);
        if (r == 0 && cb_clock_boot_ns() >= recorder->due_ns)
            r = flush(recorder, err);
    }
    if (r == 0)
        r = flush(recorder, err);
    cb_log_info("%" PRIu64 " frames recorded", recorder->frames);
    return r;
}

static int run(struct recorder *recorder, const char *path, struct cb_err *err)
{
    int r = open_state(recorder, err);

    if (r == 0)
        r = open_signals(recorder, err);
    if (r == 0)
        r = open_link(recorder, err);
    if (r == 0)
        r = cb_recording_create(path, &recorder->writer, err);
    if (r == 0)
        r = record(recorder, err);
    if (recorder->writer) {
        struct cb_err closing = {0};
        int closed = cb_recording_close(recorder->writer, &closing);

        if (r == 0 && closed < 0) {
            *err = closing;
            r = closed;
        }
    }
    recorder->link = cb_link_server_close(recorder->link);
    recorder->store = cb_store_close(recorder->store);
    recorder->known = cb_known_close(recorder->known);
    if (recorder->signal_fd >= 0)
        (void)close(recorder->signal_fd);
    if (recorder->dir_fd >= 0)
        (void)close(recorder->dir_fd);
    return r;
}

int cb_cmd_record(int argc, char **argv)
{
    struct config config = {0};
    struct recorder *recorder;
    struct cb_err err = {0};
    int next = 0;
    int r = cb_config_parse(options, "CBFORMULA", argc, argv, &config, &next, &err);

    if (r == 0 && config.help)
        return usage(stdout);
    if (r == 0 && next + 1 != argc)
        r = cb_err_set(&err, EINVAL, "record: one FILE is needed, see 'cbformula record --help'");
    if (r < 0)
        return cb_cmd_fail(CB_CMD_USAGE, &err);
    cb_log_init("cbformula", CB_LOG_INFO, false);
    recorder = calloc(1, sizeof(*recorder));
    if (!recorder)
        return CB_CMD_FAILED;
    recorder->config = &config;
    recorder->dir_fd = recorder->signal_fd = -1;
    recorder->due_ns = UINT64_MAX;
    r = run(recorder, argv[next], &err);
    free(recorder);
    return r < 0 ? cb_cmd_fail(CB_CMD_FAILED, &err) : 0;
}
