// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * count.bpf.c - adds what the system-wide counters of a CPU counted to the cgroup that leaves it.
 *
 * The kernel gives the helpers used here only to programs whose licence is compatible with the GPL;
 * hence the two licences of this file, and of this one only.
 *
 * Types    only the members that are used are declared; libbpf finds their offsets in the running
 *          kernel's BTF (CO-RE), so the build needs no BTF and one object fits all kernels.
 * Records  one for each (CPU, slot), written by that CPU alone. The first word is odd while the
 *          rest changes.
 * Missed   some virtual machines do not show every switch. So the task that leaves pays, not the
 *          remembered one, and once a switch was missed the counters are read at every one: a
 *          missed one then charges one slice wrongly, and not all since the last reading.
 */
#include <linux/bpf.h>
#include <stdbool.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "count.h"

#define in_kernel __attribute__((preserve_access_index))

struct kernfs_node {
    __u64 id;
} in_kernel;
struct cgroup_root {
    int hierarchy_id;
} in_kernel;
struct cgroup;
struct cgroup_subsys_state {
    struct cgroup *cgroup;
    struct cgroup_subsys_state *parent;
} in_kernel;
struct cgroup {
    struct cgroup_subsys_state self;
    struct kernfs_node *kn;
    struct cgroup_root *root;
} in_kernel;
struct css_set {
    struct cgroup_subsys_state *subsys[1];
    struct cgroup *dfl_cgrp;
} in_kernel;
struct task_struct {
    int pid;
    struct css_set *cgroups;
} in_kernel;
enum cgroup_subsys_id { perf_event_cgrp_id };

char LICENSE[] SEC("license") = "Dual BSD/GPL";

const volatile __u32 n_slots = 1;
const volatile __u32 n_events = 0;
const volatile __u32 n_groups = 0;
const volatile __u8 group_of[CB_BPF_MAX_EVENTS];
const volatile __u8 is_first[CB_BPF_MAX_EVENTS]; /* of its group */
const volatile int hierarchy_id = 0;             /* the one that is counted in; 0 is v2 */

/* A child of this slot's could not be registered: it is not counted until user space does it. */
__u8 incomplete[CB_BPF_MAX_SLOTS];
/* Switches that were not shown. */
__u64 missed_switches = 0;

struct state {
    __u64 id;
    __u32 slot;
    int pid;
    __u32 started;
    __u64 last[CB_BPF_MAX_EVENTS];
    __u64 enabled[CB_BPF_MAX_GROUPS];
    __u64 running[CB_BPF_MAX_GROUPS];
};

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct state);
} states SEC(".maps");

/* key: CPU x n_events + event */
struct {
    __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
    __uint(max_entries, 1);
    __uint(key_size, sizeof(__u32));
    __uint(value_size, sizeof(__u32));
} events SEC(".maps");

/* cgroup id -> slot: a target and all below it have the same one. Slot 0 is the rest. */
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, CB_BPF_MAX_IDS);
    __type(key, __u64);
    __type(value, __u32);
} slots SEC(".maps");

/* key: CPU x n_slots + slot. User space sets both sizes before it loads this. */
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(map_flags, BPF_F_MMAPABLE);
    __uint(max_entries, 1);
    __uint(key_size, sizeof(__u32));
    __uint(value_size, sizeof(__u64) * CB_BPF_MAX_WORDS);
} records SEC(".maps");

static __always_inline __u64 id_of(struct task_struct *task)
{
    struct cgroup_subsys_state *css = NULL;
    struct css_set *set;

    if (hierarchy_id == 0)
        return task->cgroups->dfl_cgrp->kn->id;
    set = task->cgroups;
    bpf_probe_read_kernel(&css, sizeof(css),
                          (char *)set + bpf_core_field_offset(struct css_set, subsys) +
                              sizeof(css) *
                                  bpf_core_enum_value(enum cgroup_subsys_id, perf_event_cgrp_id));
    return BPF_CORE_READ(css, cgroup, kn, id);
}

static __always_inline __u32 slot_of(__u64 id)
{
    __u32 *slot = bpf_map_lookup_elem(&slots, &id);

    return slot ? *slot : 0;
}

/* A counter that is less than before is another one: its CPU was offline meanwhile. */
static __always_inline __u64 since(__u64 now, __u64 last)
{
    return now >= last ? now - last : now;
}

/* Add what was counted since the last reading of this CPU to the slot that ran. */
static __always_inline void charge(struct state *s)
{
    __u32 cpu = bpf_get_smp_processor_id();
    __u32 key = cpu * n_slots + s->slot;
    __u64 *words = s->started ? bpf_map_lookup_elem(&records, &key) : NULL;

    if (words) {
        *(volatile __u64 *)words += 1;
        barrier();
    }
#pragma unroll
    for (__u32 e = 0; e < CB_BPF_MAX_EVENTS; e++) {
        struct bpf_perf_event_value v;
        __u32 g = group_of[e] % CB_BPF_MAX_GROUPS;

        if (e >= n_events)
            break;
        if (bpf_perf_event_read_value(&events, cpu * n_events + e, &v, sizeof(v)))
            continue;
        if (words)
            words[1 + 2 * n_groups + e] += since(v.counter, s->last[e]);
        s->last[e] = v.counter;
        if (!is_first[e])
            continue;
        if (words) {
            words[1 + 2 * g] += since(v.enabled, s->enabled[g]);
            words[2 + 2 * g] += since(v.running, s->running[g]);
        }
        s->enabled[g] = v.enabled;
        s->running[g] = v.running;
    }
    if (words) {
        barrier();
        *(volatile __u64 *)words += 1;
    }
    s->started = 1;
}

static __always_inline struct state *state_here(void)
{
    __u32 zero = 0;

    return bpf_map_lookup_elem(&states, &zero);
}

/* @task has run here until now. What ran is charged to the remembered slot: a task that was moved
 * meanwhile counts in its new cgroup from here on. When its coming was not shown, it is the one
 * that pays; but only from the second time on, see Missed: the first time nobody knows since when.
 */
static __always_inline void check_remembered(struct state *s, struct task_struct *task)
{
    if (!s->started || s->pid == task->pid)
        return;
    s->slot = missed_switches ? slot_of(id_of(task)) : 0;
    __sync_fetch_and_add(&missed_switches, 1);
}

SEC("tp_btf/sched_switch")
int BPF_PROG(on_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
{
    struct state *s = state_here();
    __u64 id;
    __u32 slot;

    if (!s)
        return 0;
    id = id_of(next);
    check_remembered(s, prev);
    s->pid = next->pid;
    if (s->id == id && !missed_switches)
        return 0;
    slot = slot_of(id);
    if (slot != s->slot || !s->started || missed_switches)
        charge(s);
    s->id = id;
    s->slot = slot;
    return 0;
}

static __always_inline void settle(struct state *s, struct task_struct *task)
{
    check_remembered(s, task);
    charge(s);
    s->pid = task->pid;
    s->id = id_of(task);
    s->slot = slot_of(s->id);
}

/* User space runs it on every CPU at a tick: brings in the slice that is still running, and takes
 * up what was registered or moved since. */
SEC("raw_tp/cb_flush")
int flush(void *ctx)
{
    struct state *s = state_here();

    if (s)
        settle(s, bpf_get_current_task_btf());
    return 0;
}

/* A process that moves itself counts in its new cgroup at once. The kernel shows this with
 * interrupts off, so no switch comes in between. */
SEC("tp_btf/cgroup_attach_task")
int BPF_PROG(on_attach)
{
    struct task_struct *task = bpf_get_current_task_btf();
    struct state *s = state_here();

    if (s && s->id != id_of(task))
        settle(s, task);
    return 0;
}

/* A child of a registered cgroup has its slot from its first instruction on. */
SEC("tp_btf/cgroup_mkdir")
int BPF_PROG(on_mkdir, struct cgroup *cgroup, const char *path)
{
    __u64 id = cgroup->kn->id;
    __u32 slot;

    if (cgroup->root->hierarchy_id != hierarchy_id)
        return 0;
    slot = slot_of(cgroup->self.parent->cgroup->kn->id);
    if (slot && bpf_map_update_elem(&slots, &id, &slot, BPF_ANY))
        incomplete[slot % CB_BPF_MAX_SLOTS] = 1; /* %: for the verifier */
    return 0;
}

SEC("tp_btf/cgroup_rmdir")
int BPF_PROG(on_rmdir, struct cgroup *cgroup, const char *path)
{
    __u64 id = cgroup->kn->id;

    if (cgroup->root->hierarchy_id == hierarchy_id)
        bpf_map_delete_elem(&slots, &id);
    return 0;
}
