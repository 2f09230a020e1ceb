/* SPDX-License-Identifier: Apache-2.0 */
/* hwpc_targets.c - see hwpc_targets.h. */
#include "sensor/hwpc_targets.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/err.h"
#include "lib/log.h"
#include "sensor/cgroup_id.h"
#include "sensor/container_files.h"
#include "sensor/hwpc_leaves.h"

#define LOG_NS (60 * CB_NS_PER_S)

struct target {
    struct cb_hwpc_leaf leaf;
    char *name;
    struct cb_hwpc_target *count; /* NULL: cannot be counted yet */
    bool found;                   /* by the discovery that runs */
    bool gone;                    /* one last report, then it goes */
};

struct cb_hwpc_targets {
    struct cb_hwpc_targets_options o;
    size_t n, room;
    struct target *at; /* by path */
    struct cb_log_limit uncounted_limit, unread_limit;
};

int cb_hwpc_targets_open(const struct cb_hwpc_targets_options *options,
                         struct cb_hwpc_targets **ret_targets, struct cb_err *err)
{
    struct cb_hwpc_targets *targets = calloc(1, sizeof(*targets));

    if (!targets)
        return cb_err_set(err, ENOMEM, "out of memory");
    targets->o = *options;
    *ret_targets = targets;
    return 0;
}

static void fini_target(struct cb_hwpc_targets *targets, struct target *t)
{
    t->count = cb_hwpc_target_close(targets->o.set, t->count);
    free(t->leaf.path);
    free(t->name);
}

struct cb_hwpc_targets *cb_hwpc_targets_close(struct cb_hwpc_targets *targets)
{
    if (!targets)
        return NULL;
    for (size_t i = 0; i < targets->n; i++)
        fini_target(targets, &targets->at[i]);
    free(targets->at);
    free(targets);
    return NULL;
}

size_t cb_hwpc_targets_n(const struct cb_hwpc_targets *targets)
{
    return targets->n;
}

/* ---- names ---- */

char *cb_hwpc_docker_name(int root_fd, const char *path)
{
    struct cb_container_text text = {0};
    char id[CB_CONTAINER_ID_SIZE];
    const char *last = strrchr(path, '/');
    char *name;

    if (!cb_cgroup_id_parse(last ? last + 1 : path, id) ||
        cb_container_files_look_up(root_fd, id, path, &text, NULL) < 0)
        return NULL;
    name = cb_take(text.name);
    cb_container_text_fini(&text);
    return name;
}

static char *name_of(const struct cb_hwpc_targets *targets, const char *path)
{
    char *name = targets->o.docker_names ? cb_hwpc_docker_name(targets->o.root_fd, path) : NULL;

    return name ? name : strdup(targets->o.leading_slash ? path : path + 1);
}

/* ---- discovery ---- */

static int open_dir(const struct cb_hwpc_targets *targets, const struct target *t)
{
    return openat(targets->o.base_fd, t->leaf.path + 1,
                  O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static void count_target(struct cb_hwpc_targets *targets, struct target *t)
{
    struct cb_err err = {0};
    cb_auto_close int fd = open_dir(targets, t);
    int r = fd < 0 ? -errno : cb_hwpc_target_open(targets->o.set, fd, &t->count, &err);

    if (r < 0 && fd >= 0)
        cb_log_limited(&targets->uncounted_limit, LOG_NS, CB_LOG_WARN, "'%s' has no reports: %s",
                       t->leaf.path, err.text);
}

/* Takes the leaf's path. */
static int add_target(struct cb_hwpc_targets *targets, struct cb_hwpc_leaf *leaf)
{
    struct target *t;

    if (targets->n == targets->room) {
        size_t room = targets->room ? targets->room * 2 : 64;
        struct target *at = realloc(targets->at, room * sizeof(*at));

        if (!at)
            return -ENOMEM;
        targets->at = at;
        targets->room = room;
    }
    t = &targets->at[targets->n];
    *t = (struct target){.leaf = *leaf, .name = name_of(targets, leaf->path), .found = true};
    if (!t->name)
        return -ENOMEM;
    leaf->path = NULL;
    targets->n++;
    count_target(targets, t);
    return 0;
}

static int by_path(const void *key, const void *element)
{
    const char *path = key;
    const struct target *t = element;

    return strcmp(path, t->leaf.path);
}

static int sort_by_path(const void *a, const void *b)
{
    const struct target *x = a;

    return by_path(x->leaf.path, b);
}

static bool is_known(struct target *t, const struct cb_hwpc_leaf *leaf)
{
    if (!t || t->gone || t->leaf.inode != leaf->inode)
        return false;
    t->found = true;
    return true;
}

/* Gone ones have had their last report by now. */
static void drop_gone(struct cb_hwpc_targets *targets)
{
    size_t kept = 0;

    for (size_t i = 0; i < targets->n; i++) {
        if (targets->at[i].gone)
            fini_target(targets, &targets->at[i]);
        else
            targets->at[kept++] = targets->at[i];
    }
    targets->n = kept;
}

int cb_hwpc_targets_discover(struct cb_hwpc_targets *targets, struct cb_err *err)
{
    struct cb_hwpc_leaves leaves;
    size_t n;
    int r = cb_hwpc_leaves_find(targets->o.base_fd, &leaves, err);

    if (r < 0)
        return r;
    drop_gone(targets);
    n = targets->n;
    for (size_t i = 0; i < n; i++)
        targets->at[i].found = false;
    for (size_t i = 0; r == 0 && i < leaves.n; i++) {
        struct target *t =
            n ? bsearch(leaves.at[i].path, targets->at, n, sizeof(*targets->at), by_path) : NULL;

        if (!is_known(t, &leaves.at[i]))
            r = add_target(targets, &leaves.at[i]);
        else if (!t->count) /* there may be descriptors by now */
            count_target(targets, t);
    }
    for (size_t i = 0; i < n; i++)
        targets->at[i].gone = !targets->at[i].found && r == 0;
    if (targets->n)
        qsort(targets->at, targets->n, sizeof(*targets->at), sort_by_path);
    cb_hwpc_leaves_fini(&leaves);
    return r < 0 ? cb_err_set(err, -r, "out of memory") : 0;
}

/* ---- reading ---- */

static void read_target(struct cb_hwpc_targets *targets, struct target *t, uint64_t tick_ns,
                        uint64_t *values)
{
    struct cb_err err = {0};

    if (cb_hwpc_target_read(targets->o.set, t->count, tick_ns, values, &err) < 0)
        cb_log_limited(&targets->unread_limit, LOG_NS, CB_LOG_WARN, "'%s': %s", t->leaf.path,
                       err.text);
}

void cb_hwpc_targets_start(struct cb_hwpc_targets *targets)
{
    struct cb_hwpc_batch batch = {0};

    (void)cb_hwpc_targets_read(targets, 1, &batch);
    cb_hwpc_batch_fini(&batch);
}

size_t cb_hwpc_targets_read(struct cb_hwpc_targets *targets, uint64_t tick_ns,
                            struct cb_hwpc_batch *batch)
{
    const struct cb_hwpc_form *form = cb_hwpc_set_form(targets->o.set);
    size_t lost = 0;

    for (size_t i = 0; i < targets->n; i++) {
        struct target *t = &targets->at[i];
        uint64_t *values;

        if (!t->count)
            continue;
        if (cb_hwpc_batch_add(batch, form, t->name, &values) < 0)
            lost++;
        else
            read_target(targets, t, tick_ns, values);
    }
    drop_gone(targets);
    return lost;
}

void cb_hwpc_targets_follow(struct cb_hwpc_targets *targets)
{
    for (size_t i = 0; i < targets->n; i++) {
        struct target *t = &targets->at[i];
        cb_auto_close int fd = t->count && !t->gone ? open_dir(targets, t) : -1;
        struct cb_err err = {0};

        if (t->count && cb_hwpc_target_follow(targets->o.set, t->count, fd, &err) < 0)
            cb_log_limited(&targets->uncounted_limit, LOG_NS, CB_LOG_WARN,
                           "'%s' is not counted on every CPU: %s", t->leaf.path, err.text);
    }
    cb_hwpc_set_followed(targets->o.set);
}
