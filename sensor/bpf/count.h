/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only OR BSD-2-Clause */
/* bpf/count.h - what count.bpf.c and its user space (count_bpf.c) agree on. */
#ifndef CB_SENSOR_BPF_COUNT_H
#define CB_SENSOR_BPF_COUNT_H

#define CB_BPF_MAX_EVENTS 16
#define CB_BPF_MAX_GROUPS 4
#define CB_BPF_MAX_SLOTS 2048
#define CB_BPF_MAX_IDS 16384 /* cgroups that are targets or lie below one */

/* A record: a sequence number, (enabled, running) of each group, the events' counts. */
#define CB_BPF_WORDS(groups, events) (1 + 2 * (groups) + (events))
#define CB_BPF_MAX_WORDS CB_BPF_WORDS(CB_BPF_MAX_GROUPS, CB_BPF_MAX_EVENTS)

#endif
