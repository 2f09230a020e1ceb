/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_sensor_text.c - the sensor's parsers of names and of /proc and /sys: the first byte
 * chooses. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "sensor/busy.h"
#include "sensor/cgroup_id.h"
#include "sensor/cputime.h"
#include "sensor/event.h"
#include "sensor/mounts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void mounts(const char *text)
{
    struct cb_mount mount;

    while (cb_mounts_next(&text, &mount)) {
        if (!mount.root[0] || !mount.point[0] || !mount.type[0] || !mount.options[0])
            abort();
        (void)cb_mount_has_option(&mount, "perf_event");
    }
}

static void cgroup_id(const char *text)
{
    char id[CB_CONTAINER_ID_SIZE];

    if (cb_cgroup_id_parse(text, id) &&
        (strlen(id) != CB_CONTAINER_ID_SIZE - 1 || !strstr(text, id)))
        abort();
}

static void busy(const char *text)
{
    uint64_t values[8];

    (void)!cb_busy_parse_percpu(text, 8, values);
    (void)!cb_busy_parse_stat(text, 10000000, 8, values);
}

static void cputime(const char *text)
{
    uint64_t ns;

    if (cb_cputime_parse_stat(text, &ns) == 0 && ns % 1000 != 0)
        abort();
}

static void event_list(const char *text)
{
    char name[CB_EVENT_NAME_SIZE];

    while (cb_event_next_name(&text, name) > 0)
        if (!name[0] || strlen(name) >= sizeof(name))
            abort();
}

static void event_format(const char *text)
{
    struct cb_event event = {0};

    (void)!cb_event_apply_format(text, 0x5a5a5a5a5a5a5a5a, &event);
    (void)!cb_event_apply_format(text, 1, &event);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const parsers[])(const char *) = {mounts,  cgroup_id,  busy,
                                                    cputime, event_list, event_format};
    char *text;

    if (size == 0)
        return 0;
    text = malloc(size);
    if (!text)
        return 0;
    memcpy(text, data + 1, size - 1);
    text[size - 1] = '\0';
    parsers[data[0] % (sizeof(parsers) / sizeof(parsers[0]))](text);
    free(text);
    return 0;
}
