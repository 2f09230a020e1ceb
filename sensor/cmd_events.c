/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_events.c - see cmd_events.h. */
#include "sensor/cmd_events.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <perfmon/pfmlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "lib/err.h"
#include "lib/log.h"
#include "sensor/fsread.h"

#define DEVICES "sys/bus/event_source/devices"

/* The document is made first, and the text from it: {"pmus":[{name, type, per_socket, events}],
 * "libpfm":[{name, description, events:[{name, description}]}]}. */

static int is_visible(const struct dirent *e)
{
    return e->d_name[0] != '.';
}

static int is_event(const struct dirent *e)
{
    return e->d_name[0] != '.' && !strchr(e->d_name, '.'); /* .scale, .unit, .snapshot */
}

static void add_events(json_t *events, int root_fd, const char *pmu)
{
    char path[512];
    struct dirent **names = NULL;
    int n;

    (void)snprintf(path, sizeof(path), DEVICES "/%s/events", pmu);
    n = scandirat(root_fd, path, &names, is_event, alphasort);
    for (int i = 0; i < n; i++) {
        (void)json_array_append_new(events, json_sprintf("%s/%s/", pmu, names[i]->d_name));
        free(names[i]);
    }
    free(names);
}

static void add_pmu(json_t *pmus, int root_fd, const char *name)
{
    char path[512];
    struct stat st;
    uint64_t type = 0;
    json_t *events = json_array();

    (void)snprintf(path, sizeof(path), DEVICES "/%s/type", name);
    if (cb_fsread_u64(root_fd, path, &type, NULL) < 0) {
        json_decref(events);
        return;
    }
    (void)snprintf(path, sizeof(path), DEVICES "/%s/cpumask", name);
    add_events(events, root_fd, name);
    (void)json_array_append_new(
        pmus, json_pack("{s:s,s:I,s:b,s:o}", "name", name, "type", (json_int_t)type, "per_socket",
                        fstatat(root_fd, path, &st, 0) == 0, "events", events));
}

static json_t *list_pmus(int root_fd)
{
    struct dirent **names = NULL;
    json_t *pmus = json_array();
    int n = scandirat(root_fd, DEVICES, &names, is_visible, alphasort);

    for (int i = 0; i < n; i++) {
        add_pmu(pmus, root_fd, names[i]->d_name);
        free(names[i]);
    }
    free(names);
    return pmus;
}

static void add_event(json_t *events, const char *name, const char *umask, const char *description)
{
    json_t *full = umask ? json_sprintf("%s:%s", name, umask) : json_string(name);

    (void)json_array_append_new(events, json_pack("{s:o,s:s}", "name", full, "description",
                                                  description ? description : ""));
}

/* One with umasks is counted by one of them. */
static void add_libpfm_event(json_t *events, int idx)
{
    pfm_event_info_t info = {.size = sizeof(info)};
    bool any = false;

    if (pfm_get_event_info(idx, PFM_OS_PERF_EVENT, &info) != PFM_SUCCESS)
        return;
    for (int a = 0; a < info.nattrs; a++) {
        pfm_event_attr_info_t attr = {.size = sizeof(attr)};

        if (pfm_get_event_attr_info(idx, a, PFM_OS_PERF_EVENT, &attr) != PFM_SUCCESS ||
            attr.type != PFM_ATTR_UMASK)
            continue;
        add_event(events, info.name, attr.name, attr.desc);
        any = true;
    }
    if (!any)
        add_event(events, info.name, NULL, info.desc);
}

static json_t *list_libpfm(void)
{
    json_t *pmus = json_array();
    pfm_pmu_t pmu;

    if (pfm_initialize() != PFM_SUCCESS)
        return pmus;
    for (pmu = PFM_PMU_NONE; pmu < PFM_PMU_MAX; pmu++) {
        pfm_pmu_info_t info = {.size = sizeof(info)};
        json_t *events;

        if (pfm_get_pmu_info(pmu, &info) != PFM_SUCCESS || !info.is_present)
            continue;
        events = json_array();
        for (int idx = info.first_event; idx != -1; idx = pfm_get_event_next(idx))
            add_libpfm_event(events, idx);
        (void)json_array_append_new(pmus, json_pack("{s:s,s:s,s:o}", "name", info.name,
                                                    "description", info.desc, "events", events));
    }
    return pmus;
}

static const char *text_of(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static void print_text(const json_t *document)
{
    size_t i, k;
    json_t *pmu, *event;

    json_array_foreach(json_object_get(document, "pmus"), i, pmu)
    {
        (void)printf("%s, type %lld%s\n", text_of(pmu, "name"),
                     (long long)json_integer_value(json_object_get(pmu, "type")),
                     json_is_true(json_object_get(pmu, "per_socket"))
                         ? ", counts whole sockets: for the machine only"
                         : "");
        json_array_foreach(json_object_get(pmu, "events"), k, event)(void)
            printf("  %s\n", json_string_value(event));
    }
    json_array_foreach(json_object_get(document, "libpfm"), i, pmu)
    {
        (void)printf("libpfm4 %s (%s)\n", text_of(pmu, "name"), text_of(pmu, "description"));
        json_array_foreach(json_object_get(pmu, "events"), k, event)(void)
            printf("  %s\n", text_of(event, "name"));
    }
    (void)printf("Any CPU's own codes, too: rUUEE (hexadecimal umask and event), pmu/event=0x..,"
                 "umask=0x../\n");
}

int cb_cmd_events(const char *root, bool json)
{
    cb_auto_close int root_fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    json_t *document;

    if (root_fd < 0) {
        cb_log_err("cannot open --root '%s': %s", root, strerror(errno));
        return EXIT_FAILURE;
    }
    document = json_pack("{s:o,s:o}", "pmus", list_pmus(root_fd), "libpfm", list_libpfm());
    if (!document) {
        cb_log_err("out of memory");
        return EXIT_FAILURE;
    }
    if (json)
        (void)json_dumpf(document, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII);
    else
        print_text(document);
    if (json)
        (void)putchar('\n');
    json_decref(document);
    return fflush(stdout) ? EXIT_FAILURE : EXIT_SUCCESS;
}
