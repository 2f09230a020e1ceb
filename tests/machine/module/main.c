// SPDX-License-Identifier: GPL-2.0
/* main.c - see cbmachine.h. */
#include <linux/module.h>
#include <linux/string.h>
#include <linux/tracepoint.h>

#include "cbmachine.h"

struct cbm_settings cbm_settings = {
	.base_khz = 2000000,
	.idle_mw = 5000, .dram_idle_mw = 1000,
	.drift_permille = 20, .drift_period_s = 240,
	.pj_cycle = 500, .pj_instr = 1500, .pj_curve = 60, .pj_miss = 25000, .pj_dram = 33000,
	.warm_permille = 40, .noise_permille = 20,
	.counters = 4,
};

struct cbm_signature cbm_signatures[CBM_SIGNATURES] = {
	{ "", 1000, 500, 180 },
	{ "wl_cpu", 2500, 20, 120 },	/* compute bound */
	{ "wl_mem", 300, 30000, 90 },	/* memory bound: 30 misses per 1000 instructions */
	{ "wl_br", 1200, 300, 300 },	/* branches */
	{ "wl_mix", 1500, 4000, 150 },
};

static struct tracepoint *switch_tracepoint;

/* sched_switch is not exported by name: look for it. */
static void look_at(struct tracepoint *tracepoint, void *unused)
{
	if (!strcmp(tracepoint->name, "sched_switch"))
		switch_tracepoint = tracepoint;
}

static void on_switch(void *unused, bool preempt, struct task_struct *prev,
		      struct task_struct *next, unsigned int prev_state)
{
	cbm_switch(prev, next);
}

static int __init cbm_init(void)
{
	int r, s;

	for (s = 0; s < CBM_MAX_SOCKETS; s++)
		cbm_settings.freq_khz[s] = cbm_settings.base_khz;
	r = cbm_account_init();
	if (r)
		return r;
	for_each_kernel_tracepoint(look_at, NULL);
	if (!switch_tracepoint)
		return -ENOENT;
	r = tracepoint_probe_register(switch_tracepoint, on_switch, NULL);
	if (!r)
		r = cbm_pmu_init();
	if (!r)
		r = cbm_power_pmu_show(true);
	if (!r)
		r = cbm_powercap_show(true);
	if (!r)
		r = cbm_proc_init();
	pr_info("cbmachine: %d sockets: %d\n", cbm_sockets(), r);
	/* perf's hardware context can be taken once a boot and there is no exit: stay, the guest
	 * that failed here is thrown away */
	return 0;
}
module_init(cbm_init);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("An emulated server with a known energy truth");
