/* SPDX-License-Identifier: Apache-2.0 */
/*
 * docker_client.h - run one container through the Docker Engine API.
 *
 * Source   Docker Engine API reference, versions 1.30 to 1.51; the version in use is the newest
 * that both sides know (/_ping, /version). Errors   those of rest.h, and by the engine's status:
 * -ENOENT 404, -EINVAL 400, -EBUSY 409, -EPROTO any other, each with the engine's own message as
 * text; -EBADMSG a reply that is not what the reference says. Waits    every call but
 * cb_docker_client_create() ends with -EINTR when the wake descriptor is readable: create must be
 * known to have happened or not. Threads  one object belongs to one thread.
 */
#ifndef CB_TESTER_DOCKER_CLIENT_H
#define CB_TESTER_DOCKER_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/cleanup.h"

struct cb_err;
struct cb_docker_client; /* opaque */

#define CB_DOCKER_CLIENT_ID_SIZE 65 /* 64 hex digits and the NUL */

struct cb_docker_client_label {
    const char *key, *value;
};

struct cb_docker_client_spec {
    const char *image;
    const char *container_name;
    size_t n_args;
    char *const *args; /* none: the image's own command */
    size_t n_env;
    const char *const *env;
    size_t n_binds;
    const char *const *binds;
    size_t n_labels;
    const struct cb_docker_client_label *labels;
    const char *network;     /* NULL: the engine's default */
    const char *cpuset_cpus; /* NULL: all */
    uint64_t nano_cpus;      /* 0: no limit */
    uint64_t memory_bytes;   /* 0: no limit */
    bool tty;
};

struct cb_docker_client_state {
    bool exited;
    int exit_code;
    bool output_ended;
};

/* A container as the list of containers shows it; strings are valid during the callback. */
struct cb_docker_client_entry {
    const char *id, *name, *owner; /* owner: the value of the label asked for */
    bool running;
};

typedef int cb_docker_client_output(void *arg, const uint8_t *bytes, size_t size,
                                    struct cb_err *err);
typedef void cb_docker_client_each(void *arg, const struct cb_docker_client_entry *entry);

/* @host "unix:///path". Asks for a sign of life and agrees on the version. The text of an error is
 * a whole line with the remedy. */
int cb_docker_client_open(const char *host, int wake_fd, struct cb_docker_client **ret_client,
                          struct cb_err *err) cb_must_check;
struct cb_docker_client *cb_docker_client_close(struct cb_docker_client *client);
void cb_docker_client_set_wake(struct cb_docker_client *client, int wake_fd);

/* -ENOENT: the engine does not have @image. */
int cb_docker_client_find_image(struct cb_docker_client *client, const char *image,
                                struct cb_err *err) cb_must_check;

/* Fetch @image from its registry, without credentials. */
int cb_docker_client_pull(struct cb_docker_client *client, const char *image,
                          struct cb_err *err) cb_must_check;

/* @ret_warning ("" for none) is the engine's text on a limit that it cannot apply. */
int cb_docker_client_create(struct cb_docker_client *client,
                            const struct cb_docker_client_spec *spec,
                            char ret_id[CB_DOCKER_CLIENT_ID_SIZE], char ret_warning[256],
                            struct cb_err *err) cb_must_check;

/* Attach to the output; returns when the engine has done so, which is to be before the start. */
int cb_docker_client_attach(struct cb_docker_client *client, const char *id,
                            cb_docker_client_output *output, void *arg,
                            struct cb_err *err) cb_must_check;
int cb_docker_client_start(struct cb_docker_client *client, const char *id,
                           struct cb_err *err) cb_must_check;

/* What a failed start means for the exit code, by the engine's message: 127 command not found, 126
 * found and not executable, 125 anything else. */
int cb_docker_client_start_code(const char *text);

/* Ask to be told of the exit, once, after the start; then step until the state says so. */
int cb_docker_client_wait(struct cb_docker_client *client, const char *id,
                          struct cb_err *err) cb_must_check;
int cb_docker_client_step(struct cb_docker_client *client, uint64_t timeout_ns,
                          struct cb_docker_client_state *ret_state,
                          struct cb_err *err) cb_must_check;

/* SIGKILL. A container that has ended is no error. */
int cb_docker_client_kill(struct cb_docker_client *client, const char *id,
                          struct cb_err *err) cb_must_check;

/* Remove by id or name, with its anonymous volumes, running or not. No such container: no error. */
int cb_docker_client_remove(struct cb_docker_client *client, const char *id,
                            struct cb_err *err) cb_must_check;

/* Every container, running or not, with the label @key=@value; its label @owner_key is passed on.
 */
int cb_docker_client_list(struct cb_docker_client *client, const char *key, const char *value,
                          const char *owner_key, cb_docker_client_each *each, void *arg,
                          struct cb_err *err) cb_must_check;

/* "1.41"; "" where the engine named none. */
const char *cb_docker_client_version(const struct cb_docker_client *client);

#endif
