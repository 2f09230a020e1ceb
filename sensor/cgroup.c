/* SPDX-License-Identifier: Apache-2.0 */
/* cgroup.c - see cgroup.h. */
#include "sensor/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/err.h"
#include "sensor/fsread.h"

#define MASK (IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ONLYDIR)
#define MAX_NODES 200000
#define MAX_DEPTH 64

/* A directory that is watched, or a target. */
struct node {
    struct node *parent, *next, *child;
    ino_t inode;
    int wd; /* -1: not watched (a clear target, or no watch to be had) */
    bool target;
    bool unclear; /* a target that may be a pod */
    bool seen;    /* by the rescan that is going on */
    void *cookie;
    char name[];
};

struct by_wd {
    int wd;
    struct node *node;
};

struct cb_cgroup_watch {
    struct cb_cgroup_options options;
    int inotify_fd;
    struct node *root;
    size_t n_nodes;
    size_t n_unwatched;
    size_t n_unread;
    struct by_wd *wds; /* ascending */
    size_t n_wds, room_wds;
    bool changed; /* a target came or went */
    char path[PATH_MAX];
};

/* ---- watch descriptors ---- */

static size_t wd_place(const struct cb_cgroup_watch *w, int wd)
{
    size_t low = 0;
    size_t high = w->n_wds;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (w->wds[middle].wd < wd)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct node *wd_node(const struct cb_cgroup_watch *w, int wd)
{
    size_t i = wd_place(w, wd);

    return i < w->n_wds && w->wds[i].wd == wd ? w->wds[i].node : NULL;
}

static void watch_node(struct cb_cgroup_watch *w, struct node *node, int dir_fd)
{
    char link[64];
    size_t i;

    if (w->n_wds == w->room_wds) {
        size_t room = w->room_wds ? w->room_wds * 2 : 64;
        struct by_wd *more = realloc(w->wds, room * sizeof(*more));

        if (!more) {
            w->n_unwatched += !node->target;
            return;
        }
        w->wds = more;
        w->room_wds = room;
    }
    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", dir_fd);
    node->wd = inotify_add_watch(w->inotify_fd, link, MASK);
    if (node->wd < 0) {
        w->n_unwatched += !node->target;
        return;
    }
    i = wd_place(w, node->wd);
    memmove(&w->wds[i + 1], &w->wds[i], (w->n_wds - i) * sizeof(*w->wds));
    w->wds[i] = (struct by_wd){.wd = node->wd, .node = node};
    w->n_wds++;
}

static void unwatch_node(struct cb_cgroup_watch *w, struct node *node)
{
    size_t i = wd_place(w, node->wd);

    if (node->wd < 0) {
        w->n_unwatched -= !node->target && w->n_unwatched > 0;
        return;
    }
    (void)inotify_rm_watch(w->inotify_fd, node->wd);
    if (i < w->n_wds && w->wds[i].node == node) {
        memmove(&w->wds[i], &w->wds[i + 1], (w->n_wds - i - 1) * sizeof(*w->wds));
        w->n_wds--;
    }
    node->wd = -1;
}

/* ---- the tree ---- */

static struct node *find_child(const struct node *node, const char *name)
{
    struct node *child = node->child;

    while (child && strcmp(child->name, name) != 0)
        child = child->next;
    return child;
}

/* NULL: errno says why. */
static struct node *add_node(struct cb_cgroup_watch *w, struct node *parent, const char *name,
                             ino_t inode)
{
    size_t n = strlen(name) + 1;
    struct node *node;

    if (w->n_nodes == MAX_NODES) {
        errno = ENOSPC;
        return NULL;
    }
    node = calloc(1, sizeof(*node) + n);
    if (!node)
        return NULL;
    memcpy(node->name, name, n);
    node->inode = inode;
    node->wd = -1;
    node->seen = true;
    node->parent = parent;
    if (parent) {
        node->next = parent->child;
        parent->child = node;
    }
    w->n_nodes++;
    return node;
}

static void free_tree(struct cb_cgroup_watch *w, struct node *node, bool tell)
{
    while (node->child) {
        struct node *child = node->child;

        node->child = child->next;
        free_tree(w, child, tell);
    }
    if (tell && node->target) {
        w->changed = true;
        w->options.gone(w->options.context, node->cookie);
    }
    unwatch_node(w, node);
    w->n_nodes--;
    free(node);
}

static void drop_node(struct cb_cgroup_watch *w, struct node *node)
{
    struct node **link = &node->parent->child;

    while (*link != node)
        link = &(*link)->next;
    *link = node->next;
    free_tree(w, node, true);
}

/* The path of a node into w->path; false when it is too long. */
static bool build_path(struct cb_cgroup_watch *w, const struct node *node)
{
    const struct node *up[MAX_DEPTH];
    size_t depth = 0;
    size_t n = 0;

    for (; node->parent; node = node->parent) {
        if (depth == MAX_DEPTH)
            return false;
        up[depth++] = node;
    }
    w->path[0] = '\0';
    while (depth > 0) {
        int k = snprintf(w->path + n, sizeof(w->path) - n, "/%s", up[--depth]->name);

        n += (size_t)k;
        if (n >= sizeof(w->path))
            return false;
    }
    return true;
}

static bool matches(const struct cb_cgroup_watch *w)
{
    for (size_t i = 0; i < w->options.n_patterns; i++)
        if (fnmatch(w->options.patterns[i], w->path + 1, FNM_PATHNAME) == 0)
            return true;
    return false;
}

static void scan_node(struct cb_cgroup_watch *w, struct node *node, int dir_fd);

/* A directory was not read: it is worth another try when errno says what may soon be over. */
static void miss(struct cb_cgroup_watch *w)
{
    w->n_unread += errno == EMFILE || errno == ENFILE || errno == ENOMEM;
}

/* ---- pods ---- */

enum look { LOOK_UNCLEAR, LOOK_CONTAINER, LOOK_POD };

/* What the directories in @fd tell. */
static enum look look_below(struct cb_cgroup_watch *w, int fd)
{
    int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = copy < 0 ? NULL : fdopendir(copy);
    enum look look = LOOK_UNCLEAR;

    if (!dir) {
        miss(w);
        if (copy >= 0)
            (void)close(copy);
        return LOOK_UNCLEAR;
    }
    for (struct dirent *e; errno = 0, look != LOOK_CONTAINER && (e = readdir(dir));) {
        bool container = false;

        if (e->d_type != DT_DIR || e->d_name[0] == '.')
            continue;
        if (!cb_cgroup_id_is_in_pod(e->d_name, &container))
            look = LOOK_CONTAINER;
        else if (container)
            look = LOOK_POD;
    }
    if (errno) { /* not all of them */
        miss(w);
        look = LOOK_UNCLEAR;
    }
    (void)closedir(dir);
    return look;
}

static enum look look_at(struct cb_cgroup_watch *w, int fd)
{
    char procs[16] = "";
    int r = cb_fsread_text(fd, "cgroup.procs", procs, sizeof(procs), NULL);

    if (r == -EMFILE || r == -ENFILE || r == -ENOMEM) {
        errno = -r;
        miss(w);
        return LOOK_UNCLEAR;
    }
    return r < 0 || procs[0] ? LOOK_CONTAINER : look_below(w, fd);
}

/* What an unclear target, of w->path, is. A pod that a pattern asks for stays one. */
static void clear_up(struct cb_cgroup_watch *w, struct node *node, int fd)
{
    enum look look = look_at(w, fd);

    node->unclear = look == LOOK_UNCLEAR;
    node->target = look != LOOK_POD || matches(w);
    if (node->target && !node->unclear)
        unwatch_node(w, node);
    else if (node->wd < 0)
        watch_node(w, node, fd);
}

/* ---- what is found ---- */

/* What w->path says it is; false: nothing to count. */
static bool recognize(const struct cb_cgroup_watch *w, struct cb_cgroup_found *found)
{
    bool matched = false;

    if (!cb_cgroup_id_container(w->path, found->container_id)) {
        found->runtime = cb_cgroup_id_guest(w->path, found->name);
        matched = !found->runtime && matches(w);
    }
    found->kind = matched ? CB_TARGET_CGROUP : CB_TARGET_CONTAINER;
    return matched || found->runtime || found->container_id[0];
}

/* No directory in it; where a file system does not tell, there may be some. */
static bool is_empty(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && st.st_nlink == 2;
}

/* An unclear target, of w->path, may be clear now, and a pod. */
static void clear_up_told(struct cb_cgroup_watch *w, struct node *node, int fd)
{
    void *cookie = node->cookie;

    clear_up(w, node, fd);
    if (node->target)
        return;
    node->cookie = NULL;
    w->changed = true;
    w->options.gone(w->options.context, cookie);
    scan_node(w, node, fd);
}

/* A directory that is new to us: a target, or one to look into. */
static void visit(struct cb_cgroup_watch *w, struct node *parent, int parent_fd, const char *name,
                  ino_t inode)
{
    struct cb_cgroup_found found = {.path = w->path};
    cb_auto_close int fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    struct node *node = fd < 0 ? NULL : add_node(w, parent, name, inode);
    bool young;

    if (!node) {
        miss(w);
        return;
    }
    if (!build_path(w, node)) {
        drop_node(w, node);
        return;
    }
    node->target = recognize(w, &found);
    node->unclear = node->target && cb_cgroup_id_may_be_pod(w->path);
    young = node->unclear && is_empty(fd);
    if (!node->target || (node->unclear && !young))
        watch_node(w, node, fd); /* first, so that nothing slips in between */
    if (node->unclear && !young)
        clear_up(w, node, fd);
    if (!node->target) {
        scan_node(w, node, fd);
        return;
    }
    found.dir_fd = fd;
    node->cookie = w->options.born(w->options.context, &found);
    w->changed = true;
    if (young) { /* it is no pod yet, and what runs in it must be counted soon */
        watch_node(w, node, fd);
        clear_up_told(w, node, fd);
    }
}

/* @name exists in the directory: is it new, known, or a new one under an old name? */
static void consider(struct cb_cgroup_watch *w, struct node *node, int dir_fd, const char *name)
{
    struct node *child;
    struct stat st;

    if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode))
        return;
    child = find_child(node, name);
    if (child && child->inode == st.st_ino) {
        child->seen = true;
        return;
    }
    if (child)
        drop_node(w, child);
    visit(w, node, dir_fd, name, st.st_ino);
}

static void scan_node(struct cb_cgroup_watch *w, struct node *node, int dir_fd)
{
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);

    if (!dir) {
        miss(w);
        if (fd >= 0)
            (void)close(fd);
        return;
    }
    for (struct dirent *e; errno = 0, (e = readdir(dir));)
        if (e->d_name[0] != '.' && (e->d_type == DT_DIR || e->d_type == DT_UNKNOWN))
            consider(w, node, dir_fd, e->d_name);
    miss(w);
    (void)closedir(dir);
}

static int open_node(struct cb_cgroup_watch *w, const struct node *node)
{
    if (!build_path(w, node)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    return openat(w->options.dir_fd, node->parent ? w->path + 1 : ".",
                  O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* Its directory is no more, or is another one of that name: asked of the directory itself and
 * without a descriptor, for a listing may be cut short. */
static bool is_over(struct cb_cgroup_watch *w, const struct node *node)
{
    struct stat st;

    if (!build_path(w, node))
        return false;
    if (fstatat(w->options.dir_fd, w->path + 1, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT || errno == ENOTDIR;
    return st.st_ino != node->inode;
}

static void look_into(struct cb_cgroup_watch *w, struct node *node)
{
    cb_auto_close int fd = open_node(w, node);

    if (fd < 0)
        miss(w);
    else
        scan_node(w, node, fd);
}

/* A target that was refused. */
static void offer_again(struct cb_cgroup_watch *w, struct node *node)
{
    struct cb_cgroup_found found = {.path = w->path};
    cb_auto_close int fd = open_node(w, node);

    if (fd < 0) {
        miss(w);
        return;
    }
    found.dir_fd = fd;
    (void)recognize(w, &found);
    w->options.gone(w->options.context, NULL);
    node->cookie = w->options.born(w->options.context, &found);
    w->changed = w->changed || node->cookie;
}

static void look_again(struct cb_cgroup_watch *w, struct node *node)
{
    cb_auto_close int fd = open_node(w, node);

    if (fd < 0)
        miss(w);
    else
        clear_up_told(w, node, fd);
}

static void rescan_target(struct cb_cgroup_watch *w, struct node *node)
{
    if (node->unclear)
        look_again(w, node);
    if (node->target && !node->cookie)
        offer_again(w, node);
}

static void rescan_node(struct cb_cgroup_watch *w, struct node *node)
{
    for (struct node *child = node->child; child; child = child->next)
        child->seen = false;
    look_into(w, node);
    for (struct node *child = node->child, *next; child; child = next) {
        next = child->next;
        if (!child->seen && is_over(w, child))
            drop_node(w, child);
        else if (!child->target)
            rescan_node(w, child);
        else
            rescan_target(w, child);
    }
}

static void rescan(struct cb_cgroup_watch *w)
{
    w->n_unread = 0;
    rescan_node(w, w->root);
}

/* ---- events ---- */

static void take_event(struct cb_cgroup_watch *w, const struct inotify_event *event)
{
    struct node *node;

    if (event->mask & IN_Q_OVERFLOW) {
        rescan(w);
        return;
    }
    node = wd_node(w, event->wd);
    if (!node || !(event->mask & IN_ISDIR) || event->len == 0)
        return;
    if (node->target) {
        look_again(w, node);
        return;
    }

    cb_auto_close int fd = open_node(w, node);
    struct node *child;

    if (fd >= 0)
        consider(w, node, fd, event->name); /* whatever the event said */
    else
        miss(w);
    child = find_child(node, event->name);
    if (child && is_over(w, child))
        drop_node(w, child);
}

bool cb_cgroup_watch_process(struct cb_cgroup_watch *watch)
{
    char buf[16384] __attribute__((aligned(__alignof__(struct inotify_event))));
    bool changed;
    ssize_t n;

    while ((n = read(watch->inotify_fd, buf, sizeof(buf))) > 0)
        for (char *p = buf; p < buf + n;) {
            const struct inotify_event *event = (const void *)p;

            take_event(watch, event);
            p += sizeof(*event) + event->len;
        }
    changed = watch->changed;
    watch->changed = false;
    return changed;
}

bool cb_cgroup_watch_rescan(struct cb_cgroup_watch *watch)
{
    bool changed;

    rescan(watch);
    changed = watch->changed;
    watch->changed = false;
    return changed;
}

int cb_cgroup_watch_open(const struct cb_cgroup_options *options,
                         struct cb_cgroup_watch **ret_watch, struct cb_err *err)
{
    struct cb_cgroup_watch *watch = calloc(1, sizeof(*watch));

    if (!watch)
        return cb_err_set(err, ENOMEM, "out of memory");
    watch->options = *options;
    watch->inotify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (watch->inotify_fd < 0) {
        int code = errno;

        (void)cb_cgroup_watch_close(watch);
        return cb_err_set(err, code, "no inotify instance: %s (fs.inotify.max_user_instances)",
                          strerror(code));
    }
    watch->root = add_node(watch, NULL, "", 0);
    if (!watch->root) {
        (void)cb_cgroup_watch_close(watch);
        return cb_err_set(err, ENOMEM, "out of memory");
    }
    watch_node(watch, watch->root, options->dir_fd);
    scan_node(watch, watch->root, options->dir_fd);
    watch->changed = false;
    *ret_watch = watch;
    return 0;
}

struct cb_cgroup_watch *cb_cgroup_watch_close(struct cb_cgroup_watch *watch)
{
    if (!watch)
        return NULL;
    if (watch->root)
        free_tree(watch, watch->root, false);
    if (watch->inotify_fd >= 0)
        (void)close(watch->inotify_fd);
    free(watch->wds);
    free(watch);
    return NULL;
}

int cb_cgroup_watch_fd(const struct cb_cgroup_watch *watch)
{
    return watch->inotify_fd;
}

size_t cb_cgroup_watch_unwatched(const struct cb_cgroup_watch *watch)
{
    return watch->n_unwatched;
}

size_t cb_cgroup_watch_unread(const struct cb_cgroup_watch *watch)
{
    return watch->n_unread;
}
