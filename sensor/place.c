/* SPDX-License-Identifier: Apache-2.0 */
/* place.c - see place.h. */
#include "sensor/place.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/err.h"
#include "sensor/cgroup_id.h"
#include "sensor/fsread.h"
#include "sensor/mounts.h"
#include "sensor/perf.h"

#define MOUNT_POINT "/sys/fs/cgroup/perf_event"
#define SOURCE "cbsensor." /* and the process's id: what our mounts are called */
#define SUBTREE_CONTROL "cgroup.subtree_control"
#define WALK_DEPTH 16
#define UMOUNT_TRIES 20 /* of 50 ms */
/* The kernel lets go of a hierarchy some time after its umount: 100 ms waits, and how many of them
 * before the next umount. */
#define RELEASE_WAITS 60
#define RELEASE_ROUND 10

struct cb_place {
    int root_fd;
    int dir_fd;
    int pid; /* ours; a mount is made by a child */
    bool mounted;
    bool made_directory;
    char path[PATH_MAX];
    char how[512];
};

static int open_dir(int root_fd, const char *path, struct cb_err *err)
{
    /* mount points start with '/', paths below a root descriptor do not */
    const char *relative = path + strspn(path, "/");
    int fd = openat(root_fd, *relative ? relative : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return cb_err_set(err, errno, "cannot open '%s': %s", path, strerror(errno));
    return fd;
}

/* Was it mounted by a sensor that is no more, and had no time to unmount it? */
static bool is_left_behind(const struct cb_place *place, const struct cb_mount *mount)
{
    char path[96];
    char comm[32];

    if (strncmp(mount->source, SOURCE, strlen(SOURCE)) != 0 ||
        strcmp(mount->point, MOUNT_POINT) != 0)
        return false;
    (void)snprintf(path, sizeof(path), "proc/%.20s/comm", mount->source + strlen(SOURCE));
    return cb_fsread_line(place->root_fd, path, comm, sizeof(comm), NULL) < 0 ||
           strcmp(comm, "cbsensor") != 0;
}

static int use_v1(struct cb_place *place, uint32_t cpu, struct cb_err *err)
{
    struct cb_mount mount;
    int r = cb_mounts_find_cgroup(place->root_fd, "perf_event", &mount, err);

    if (r < 0)
        return r;
    place->dir_fd = open_dir(place->root_fd, mount.point, err);
    if (place->dir_fd < 0)
        return place->dir_fd;
    r = cb_perf_probe(place->dir_fd, cpu, err);
    if (r < 0)
        return cb_err_prefix(err, r, "cgroup v1 perf_event at %s", mount.point);
    memcpy(place->path, mount.point, sizeof(place->path));
    (void)snprintf(place->how, sizeof(place->how), "cgroup v1 perf_event is mounted at %.256s",
                   mount.point);
    if (is_left_behind(place, &mount)) {
        place->mounted = place->made_directory = true;
        (void)snprintf(place->how, sizeof(place->how),
                       "cgroup v1 perf_event at " MOUNT_POINT
                       ", left behind by a cbsensor that was killed; unmounted at exit");
    }
    return 0;
}

/* ---- v2 ---- */

/* Some cgroup below the root, whose counters tell whether the hierarchy can be counted: an existing
 * one, else one made for the moment (*ret_made). */
static int open_some_child(int dir_fd, uint32_t cpu, char name[NAME_MAX + 1], bool *ret_made,
                           struct cb_err *err)
{
    cb_auto_close int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);

    if (!dir)
        return cb_err_set(err, errno, "cannot list the hierarchy: %s", strerror(errno));
    (void)cb_take_fd(fd);
    *ret_made = false;
    for (struct dirent *e; (e = readdir(dir));) {
        struct stat st;

        if (e->d_name[0] == '.' || fstatat(dir_fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
            !S_ISDIR(st.st_mode))
            continue;
        (void)snprintf(name, NAME_MAX + 1, "%s", e->d_name);
        (void)closedir(dir);
        return openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
    (void)closedir(dir);
    (void)snprintf(name, NAME_MAX + 1, "cbsensor.probe.%d", (int)getpid());
    if (mkdirat(dir_fd, name, 0755) < 0) {
        int code = errno;
        int r = cb_perf_probe(-1, cpu, err);

        return r < 0 ? r
                     : cb_err_set(err, code,
                                  "it has no cgroup below its root, and none can be made to try "
                                  "on: %s; run as root, or start a container first",
                                  strerror(code));
    }
    *ret_made = true;
    return openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int probe_child(int dir_fd, uint32_t cpu, struct cb_err *err)
{
    char name[NAME_MAX + 1];
    bool made = false;
    int child_fd = open_some_child(dir_fd, cpu, name, &made, err);
    int r = child_fd < 0 ? child_fd : cb_perf_probe(child_fd, cpu, err);

    if (child_fd >= 0)
        (void)close(child_fd);
    if (made)
        (void)unlinkat(dir_fd, name, AT_REMOVEDIR);
    return r;
}

/* Is @word one of the words of @text? */
static bool has_word(const char *text, const char *word)
{
    size_t n = strlen(word);

    for (const char *p = strstr(text, word); p; p = strstr(p + 1, word))
        if ((p == text || p[-1] == ' ') && (p[n] == ' ' || p[n] == '\0'))
            return true;
    return false;
}

int cb_place_pick_controller(int dir_fd, char ret_word[CB_PLACE_WORD_SIZE], bool *ret_new,
                             struct cb_err *err)
{
    static const char *const harmless[] = {"misc", "pids"};
    char text[512];
    int r = cb_fsread_line(dir_fd, SUBTREE_CONTROL, text, sizeof(text), err);

    *ret_new = r == 0 && text[0] == '\0';
    if (*ret_new)
        r = cb_fsread_line(dir_fd, "cgroup.controllers", text, sizeof(text), err);
    if (r < 0)
        return r;
    for (size_t i = 0; *ret_new && i < sizeof(harmless) / sizeof(harmless[0]); i++)
        if (has_word(text, harmless[i])) {
            (void)snprintf(ret_word, CB_PLACE_WORD_SIZE, "+%s", harmless[i]);
            return 0;
        }
    text[strcspn(text, " ")] = '\0';
    if (!*text)
        return cb_err_set(err, ENOENT, "the root has no controller to write to " SUBTREE_CONTROL);
    (void)snprintf(ret_word, CB_PLACE_WORD_SIZE, "+%.60s", text);
    return 0;
}

static int cure_v2(struct cb_place *place, char word[CB_PLACE_WORD_SIZE], bool *ret_new,
                   struct cb_err *err)
{
    cb_auto_close int fd = -1;
    int r = cb_place_pick_controller(place->dir_fd, word, ret_new, err);

    if (r < 0)
        return r;
    fd = openat(place->dir_fd, SUBTREE_CONTROL, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, word, strlen(word)) < 0)
        return cb_err_set(err, errno, "cannot write '%s' to %s/" SUBTREE_CONTROL ": %s", word,
                          place->path, strerror(errno));
    return 0;
}

static int use_v2(struct cb_place *place, uint32_t cpu, struct cb_err *err)
{
    struct cb_mount mount;
    char word[CB_PLACE_WORD_SIZE];
    bool is_new = false;
    int r = cb_mounts_find_cgroup(place->root_fd, NULL, &mount, err);

    if (r < 0)
        return r;
    memcpy(place->path, mount.point, sizeof(place->path));
    place->dir_fd = open_dir(place->root_fd, mount.point, err);
    if (place->dir_fd < 0)
        return place->dir_fd;
    r = probe_child(place->dir_fd, cpu, err);
    if (r == 0) {
        (void)snprintf(place->how, sizeof(place->how), "cgroup v2 at %.256s", mount.point);
        return 0;
    }
    if (r != -ENOENT)
        return cb_err_prefix(err, r, "cgroup v2 at %s", mount.point);
    r = cure_v2(place, word, &is_new, err);
    if (r == 0)
        r = probe_child(place->dir_fd, cpu, err);
    if (r < 0)
        return cb_err_prefix(err, r, "cgroup v2 at %s", mount.point);
    (void)snprintf(place->how, sizeof(place->how),
                   "cgroup v2 at %.256s; counting cgroups there needed one write to its "
                   "root's " SUBTREE_CONTROL ": wrote '%s'%s",
                   mount.point, word, is_new ? ", which enables that controller" : "");
    return 0;
}

/* ---- v1, mounted by us ---- */

/* Run @act in the mount namespace of process 1: in a child, for a thread cannot come back. Where
 * that namespace is ours, or hidden from us, the child stays where it is. */
static int in_host_namespace(int root_fd, int (*act)(struct cb_place *), struct cb_place *place)
{
    pid_t pid = fork();
    int status;

    if (pid < 0)
        return -errno;
    if (pid == 0) {
        cb_auto_close int ns_fd = openat(root_fd, "proc/1/ns/mnt", O_RDONLY | O_CLOEXEC);

        if (ns_fd >= 0)
            (void)setns(ns_fd, CLONE_NEWNS);
        _exit(act(place));
    }
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return -errno;
    return WIFEXITED(status) ? -WEXITSTATUS(status) : -EIO;
}

/* These run in the child and return an errno value, with MADE_DIRECTORY for "made it first". */
#define MADE_DIRECTORY 0x80

static int do_mount(struct cb_place *place)
{
    char source[32];
    int made = 0;

    (void)snprintf(source, sizeof(source), SOURCE "%d", place->pid);
    if (mkdir(MOUNT_POINT, 0755) == 0)
        made = MADE_DIRECTORY;
    else if (errno != EEXIST)
        return errno;
    if (mount(source, MOUNT_POINT, "cgroup", MS_NOSUID | MS_NODEV | MS_NOEXEC, "perf_event") == 0)
        return made;

    int code = errno;

    if (made)
        (void)rmdir(MOUNT_POINT);
    return code;
}

/* Remove the cgroups below @parent_fd that are empty, deepest first. */
static void remove_below(int parent_fd, int depth)
{
    int fd = openat(parent_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 || depth == 0 ? NULL : fdopendir(fd);

    if (!dir && fd >= 0)
        (void)close(fd);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        cb_auto_close int child_fd = -1;

        if (e->d_type != DT_DIR || e->d_name[0] == '.')
            continue;
        child_fd = openat(parent_fd, e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (child_fd < 0)
            continue;
        remove_below(child_fd, depth - 1);
        (void)unlinkat(parent_fd, e->d_name, AT_REMOVEDIR);
    }
    if (dir)
        (void)closedir(dir);
}

static void remove_empty(void)
{
    cb_auto_close int fd = open(MOUNT_POINT, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd >= 0)
        remove_below(fd, WALK_DEPTH);
}

/* A runtime that looks into the hierarchy just now makes it busy for a moment. */
static int do_umount(struct cb_place *place)
{
    const struct timespec pause = {.tv_nsec = 50000000};
    int r = -1;

    for (int i = 0; r < 0 && i < UMOUNT_TRIES; i++) {
        if (i > 0)
            (void)nanosleep(&pause, NULL);
        remove_empty();
        r = umount2(MOUNT_POINT, i + 1 < UMOUNT_TRIES ? 0 : MNT_DETACH);
    }
    if (r < 0 || (place->made_directory && rmdir(MOUNT_POINT) < 0))
        return errno;
    return 0;
}

static int use_mount(struct cb_place *place, uint32_t cpu, struct cb_err *err)
{
    static const char *const views[] = {MOUNT_POINT, "/proc/1/root" MOUNT_POINT};
    int r = in_host_namespace(place->root_fd, do_mount, place);

    place->made_directory = (-r & MADE_DIRECTORY) != 0;
    r = -(-r & ~MADE_DIRECTORY);
    if (r < 0)
        return cb_err_set(err, -r,
                          "cannot mount perf_event at " MOUNT_POINT ": %s; on the host, run: "
                          "mkdir -p " MOUNT_POINT
                          " && mount -t cgroup -o perf_event perf_event " MOUNT_POINT,
                          strerror(-r));
    place->mounted = true;
    r = -ENOENT;
    for (size_t i = 0; r < 0 && i < sizeof(views) / sizeof(views[0]); i++) {
        if (place->dir_fd >= 0)
            (void)close(place->dir_fd);
        place->dir_fd = open_dir(place->root_fd, views[i], err);
        r = place->dir_fd < 0 ? place->dir_fd : cb_perf_probe(place->dir_fd, cpu, err);
    }
    if (r < 0)
        return cb_err_prefix(err, r, "perf_event mounted at " MOUNT_POINT);
    (void)snprintf(place->path, sizeof(place->path), "%s", MOUNT_POINT);
    (void)snprintf(place->how, sizeof(place->how),
                   "mounted cgroup v1 perf_event at " MOUNT_POINT ", unmounted at exit; containers "
                   "that ran before are not counted");
    return 0;
}

/* How many cgroups the v1 hierarchy of perf_event has (/proc/cgroups: name, id, cgroups); 0: it is
 * bound to none and belongs to v2. */
static unsigned v1_cgroups(int root_fd)
{
    static const char name[] = "\nperf_event\t";
    cb_auto_free char *text = NULL;
    const char *line;
    unsigned id;
    unsigned cgroups;

    if (cb_fsread_all(root_fd, "proc/cgroups", 65536, &text, NULL) < 0)
        return 0;
    line = strstr(text, name);
    if (!line || sscanf(line + strlen(name), "%u %u", &id, &cgroups) != 2)
        return 0;
    return id == 0 ? 0 : cgroups;
}

/* Unmounting right after an rmdir can leave the hierarchy bound, which takes perf away from v2;
 * mounting it once more and unmounting it later lets go. A cgroup is counted until some time after
 * its rmdir; one that is there longer than that has a container in it, and no waiting helps. */
static int undo_mount(struct cb_place *place, struct cb_err *err)
{
    const struct timespec pause = {.tv_nsec = 100000000};
    int r = in_host_namespace(place->root_fd, do_umount, place);

    for (int i = 0; r == 0 && i < RELEASE_WAITS; i++) {
        unsigned cgroups = v1_cgroups(place->root_fd);

        if (cgroups == 0 || (cgroups > 1 && i > 2 * RELEASE_ROUND))
            break;
        (void)nanosleep(&pause, NULL);
        if (i % RELEASE_ROUND != RELEASE_ROUND - 1 || v1_cgroups(place->root_fd) == 0)
            continue;
        r = in_host_namespace(place->root_fd, do_mount, place);
        if (r == 0 || r == -MADE_DIRECTORY)
            r = in_host_namespace(place->root_fd, do_umount, place);
    }
    if (r < 0)
        return cb_err_set(err, EIO, "cannot unmount " MOUNT_POINT ": %s; run: umount " MOUNT_POINT,
                          strerror(-r));
    if (v1_cgroups(place->root_fd) > 0)
        return cb_err_set(err, EBUSY,
                          "perf_event is unmounted, but stays bound to cgroup v1 until the "
                          "containers that were started meanwhile have ended; cgroup v2 cannot be "
                          "counted until then");
    return 0;
}

int cb_place_close(struct cb_place *place, struct cb_err *err)
{
    int r = 0;

    if (!place)
        return 0;
    if (place->dir_fd >= 0)
        (void)close(place->dir_fd);
    if (place->mounted)
        r = undo_mount(place, err);
    free(place);
    return r;
}

/* ---- choosing ---- */

static const struct way {
    const char *name;
    int (*use)(struct cb_place *place, uint32_t cpu, struct cb_err *err);
} ways[] = {{"v1", use_v1}, {"v2", use_v2}, {"mount", use_mount}};
#define N_WAYS (sizeof(ways) / sizeof(ways[0]))

int cb_place_check(const char *wanted, struct cb_err *err)
{
    bool known = strcmp(wanted, "auto") == 0;

    for (size_t i = 0; i < N_WAYS; i++)
        known = known || strcmp(wanted, ways[i].name) == 0;
    return known ? 0
                 : cb_err_set(err, EINVAL, "unknown hierarchy '%s': auto, v1, v2 or mount", wanted);
}

static int try_ways(struct cb_place *place, const char *wanted, uint32_t cpu, struct cb_err *err)
{
    char tried[640] = "";

    for (size_t i = 0; i < N_WAYS; i++) {
        struct cb_err why = {0};
        size_t n = strlen(tried);
        int r;

        if (strcmp(wanted, "auto") != 0 && strcmp(wanted, ways[i].name) != 0)
            continue;
        r = ways[i].use(place, cpu, &why);
        if (r == 0)
            return 0;
        if (r == -EACCES)
            return cb_err_set(err, EACCES, "%s", why.text);
        if (place->dir_fd >= 0)
            (void)close(cb_take_fd(place->dir_fd));
        (void)snprintf(tried + n, sizeof(tried) - n, "%s%s: %.190s", n ? "; " : "", ways[i].name,
                       why.text);
    }
    return cb_err_set(err, ENOENT, "no cgroup hierarchy can be counted: %s", tried);
}

int cb_place_open(int root_fd, const char *wanted, uint32_t cpu, struct cb_place **ret_place,
                  struct cb_err *err)
{
    struct cb_place *place;
    int r = cb_place_check(wanted, err);

    if (r < 0)
        return r;
    place = calloc(1, sizeof(*place));
    if (!place)
        return cb_err_set(err, ENOMEM, "out of memory");
    place->root_fd = root_fd;
    place->dir_fd = -1;
    place->pid = (int)getpid();
    r = try_ways(place, wanted, cpu, err);
    if (r < 0)
        (void)!cb_place_close(place, NULL); /* what went wrong first is told */
    else
        *ret_place = place;
    return r;
}

int cb_place_dir_fd(const struct cb_place *place)
{
    return place->dir_fd;
}

const char *cb_place_path(const struct cb_place *place)
{
    return place->path;
}

bool cb_place_is_mounted_by_us(const struct cb_place *place)
{
    return place->mounted;
}

const char *cb_place_how(const struct cb_place *place)
{
    return place->how;
}

/* ---- containers elsewhere ---- */

struct walk {
    void (*seen)(void *context, const char *id, const char *path);
    void *context;
    char path[PATH_MAX];
};

/* Does a process live in it or below? Where that cannot be read, one may. */
static bool is_alive(int parent_fd, const char *name, int depth)
{
    char procs[16];
    cb_auto_close int fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DIR *dir;
    bool alive;

    if (fd < 0 || depth == 0)
        return false;
    alive = cb_fsread_text(fd, "cgroup.procs", procs, sizeof(procs), NULL) != 0 || procs[0] != '\0';
    if (alive)
        return true;
    dir = fdopendir(fd);
    if (!dir)
        return true;
    (void)cb_take_fd(fd);
    for (struct dirent *e; !alive && (e = readdir(dir));)
        alive = e->d_type == DT_DIR && e->d_name[0] != '.' &&
                is_alive(dirfd(dir), e->d_name, depth - 1);
    (void)closedir(dir);
    return alive;
}

static void walk_containers(struct walk *walk, int parent_fd, const char *name, int depth)
{
    char id[CB_CONTAINER_ID_SIZE];
    size_t length = strlen(walk->path);
    cb_auto_close int fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DIR *dir = fd < 0 || depth == 0 ? NULL : fdopendir(fd);

    if (!dir)
        return;
    (void)cb_take_fd(fd);
    for (struct dirent *e; (e = readdir(dir));) {
        if (e->d_type != DT_DIR || e->d_name[0] == '.')
            continue;
        (void)snprintf(walk->path + length, sizeof(walk->path) - length, "/%s", e->d_name);
        if (!cb_cgroup_id_container(walk->path, id))
            walk_containers(walk, dirfd(dir), e->d_name, depth - 1);
        else if (is_alive(dirfd(dir), e->d_name, WALK_DEPTH))
            walk->seen(walk->context, id, walk->path);
        walk->path[length] = '\0';
    }
    (void)closedir(dir);
}

void cb_place_each_container(int root_fd, const struct cb_place *place,
                             void (*seen)(void *context, const char *id, const char *path),
                             void *context)
{
    cb_auto_free struct walk *walk = calloc(1, sizeof(*walk));
    cb_auto_free char *table = NULL;
    struct cb_mount mount;

    if (!walk || cb_mounts_read(root_fd, &table, NULL) < 0)
        return;
    walk->seen = seen;
    walk->context = context;
    for (const char *p = table; cb_mounts_next(&p, &mount);) {
        cb_auto_close int fd = -1;

        if (strncmp(mount.type, "cgroup", 6) != 0 || strcmp(mount.point, place->path) == 0)
            continue;
        fd = open_dir(root_fd, mount.point, NULL);
        if (fd >= 0)
            walk_containers(walk, fd, ".", WALK_DEPTH);
    }
}
