/* SPDX-License-Identifier: Apache-2.0 */
/* hwpc_leaves.c - see hwpc_leaves.h. */
#include "sensor/hwpc_leaves.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/err.h"

#define MAX_DEPTH 64

struct walk {
    struct cb_hwpc_leaves *leaves;
    char path[PATH_MAX];
};

static int add_leaf(struct walk *w, int dir_fd)
{
    struct cb_hwpc_leaves *l = w->leaves;
    struct stat st;

    if (fstat(dir_fd, &st) < 0)
        return -errno;
    if (l->n == l->room) {
        size_t room = l->room ? l->room * 2 : 64;
        struct cb_hwpc_leaf *at = realloc(l->at, room * sizeof(*at));

        if (!at)
            return -ENOMEM;
        l->at = at;
        l->room = room;
    }
    l->at[l->n].path = strdup(w->path);
    if (!l->at[l->n].path)
        return -ENOMEM;
    l->at[l->n++].inode = (uint64_t)st.st_ino;
    return 0;
}

static bool is_directory(int dir_fd, const struct dirent *e)
{
    struct stat st;

    if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
        return false;
    if (e->d_type != DT_UNKNOWN)
        return e->d_type == DT_DIR;
    return fstatat(dir_fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

static int walk_below(struct walk *w, int dir_fd, int depth);

static int walk_child(struct walk *w, int dir_fd, const char *name, int depth)
{
    size_t n = strlen(w->path);
    int fd, r;

    if (n + 1 + strlen(name) >= sizeof(w->path) || depth == MAX_DEPTH)
        return -ELOOP;
    fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
    (void)snprintf(w->path + n, sizeof(w->path) - n, "/%s", name);
    r = walk_below(w, fd, depth + 1);
    w->path[n] = '\0';
    return r;
}

/* Takes @dir_fd. */
static int walk_below(struct walk *w, int dir_fd, int depth)
{
    DIR *dir = fdopendir(dir_fd);
    bool leaf = true;
    int r = 0;

    if (!dir) {
        r = -errno;
        (void)close(dir_fd);
        return r;
    }
    for (struct dirent *e; r == 0 && (e = readdir(dir));) {
        if (!is_directory(dir_fd, e))
            continue;
        leaf = false;
        r = walk_child(w, dir_fd, e->d_name, depth);
    }
    if (r == 0 && leaf && depth > 0)
        r = add_leaf(w, dir_fd);
    (void)closedir(dir);
    return r;
}

static int by_path(const void *a, const void *b)
{
    const struct cb_hwpc_leaf *x = a, *y = b;

    return strcmp(x->path, y->path);
}

int cb_hwpc_leaves_find(int base_fd, struct cb_hwpc_leaves *ret_leaves, struct cb_err *err)
{
    struct walk w = {.leaves = ret_leaves};
    int fd = openat(base_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int r;

    *ret_leaves = (struct cb_hwpc_leaves){0};
    if (fd < 0)
        return cb_err_set(err, errno, "cannot read the cgroups: %s", strerror(errno));
    r = walk_below(&w, fd, 0);
    if (r < 0) {
        cb_hwpc_leaves_fini(ret_leaves);
        return cb_err_set(err, -r, "cannot read the cgroups: %s", strerror(-r));
    }
    if (ret_leaves->n)
        qsort(ret_leaves->at, ret_leaves->n, sizeof(*ret_leaves->at), by_path);
    return 0;
}

void cb_hwpc_leaves_fini(struct cb_hwpc_leaves *leaves)
{
    for (size_t i = 0; i < leaves->n; i++)
        free(leaves->at[i].path);
    free(leaves->at);
    *leaves = (struct cb_hwpc_leaves){0};
}
