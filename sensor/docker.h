/* SPDX-License-Identifier: Apache-2.0 */
/*
 * docker.h - name, image and labels of a container, asked for while the ticks go on; and asked for
 * again when the engine says that it was renamed.
 *
 * Source    GET /containers/<id>/json of the Docker Engine API (Podman's answers the same) over a
 *           unix socket; where that does not answer, the runtimes' files (container_files.h).
 *           Neither is needed: an unknown container is counted without its name. Renames come
 *           from GET /events; after a break the stream is taken up where it ended.
 * Waiting   Nothing here waits for an engine: the work is done in cb_docker_take(), a piece each
 *           time. Files are read there and then, for at most a tenth of the time.
 * Threads   one object belongs to one thread.
 */
#ifndef CB_SENSOR_DOCKER_H
#define CB_SENSOR_DOCKER_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/cleanup.h"
#include "sensor/cgroup_id.h"
#include "sensor/container_text.h"

struct cb_err;
struct cb_docker;

struct cb_docker_answer {
    char id[CB_CONTAINER_ID_SIZE];
    bool found;
    struct cb_container_text text;
};

/* @host is "unix:///path" ("": files only). @root_fd is borrowed until close. -EINVAL: another kind
 * of address; -EMFILE, -ENOMEM. */
int cb_docker_open(int root_fd, const char *host, struct cb_docker **ret_docker,
                   struct cb_err *err) cb_must_check;
struct cb_docker *cb_docker_close(struct cb_docker *docker);

/* Ask for a container's text; @cgroup is its path below the hierarchy. False: too many questions
 * are waiting; ask again later. */
bool cb_docker_ask(struct cb_docker *docker, const char *id, const char *cgroup);

/* Readable when there is something to do, or an answer: call cb_docker_take(). */
int cb_docker_fd(const struct cb_docker *docker);

/* The next answer, the caller's from then on; false: none. Never blocks. An answer may come for a
 * container that was not asked for: it has a new name. */
bool cb_docker_take(struct cb_docker *docker, struct cb_docker_answer *ret_answer);

void cb_docker_answer_fini(struct cb_docker_answer *answer);

/* The container that a line of GET /events says was renamed. */
bool cb_docker_parse_rename(const char *line, size_t size, char ret_id[CB_CONTAINER_ID_SIZE]);

#endif
