// SPDX-License-Identifier: GPL-2.0
/* pmu.c - see cbmachine.h. An event's hw.config is its enum cbm_counter, hw.idx is 1 when it needs
 * a general-purpose counter. Sampling is refused: nothing here interrupts. */
#include <linux/device.h>
#include <linux/module.h>
#include <linux/percpu.h>
#include <linux/perf_event.h>

#include "cbmachine.h"

static DEFINE_PER_CPU(unsigned int, used);	/* general-purpose counters of this CPU */

static u64 event_read(struct perf_event *event)
{
	return cbm_read(event->hw.config, cbm_socket_of(smp_processor_id()));
}

static void update(struct perf_event *event)
{
	u64 now = event_read(event), before = local64_xchg(&event->hw.prev_count, now);

	local64_add(now - before, &event->count);
}

static void start(struct perf_event *event, int flags)
{
	local64_set(&event->hw.prev_count, event_read(event));
	event->hw.state = 0;
}

static void stop(struct perf_event *event, int flags)
{
	if (event->hw.state & PERF_HES_STOPPED)
		return;
	update(event);
	event->hw.state = PERF_HES_STOPPED | PERF_HES_UPTODATE;
}

static int add(struct perf_event *event, int flags)
{
	if (event->hw.idx) {
		if (__this_cpu_read(used) >= cbm_settings.counters)
			return -EAGAIN;
		__this_cpu_inc(used);
	}
	event->hw.state = PERF_HES_STOPPED | PERF_HES_UPTODATE;
	if (flags & PERF_EF_START)
		start(event, 0);
	return 0;
}

static void del(struct perf_event *event, int flags)
{
	stop(event, 0);
	if (event->hw.idx)
		__this_cpu_dec(used);
}

static void read(struct perf_event *event)
{
	if (!(event->hw.state & PERF_HES_STOPPED))
		update(event);
}

static int init_event(struct perf_event *event, int counter, bool general)
{
	if (counter < 0)
		return -EINVAL;
	if (is_sampling_event(event) || has_branch_stack(event))
		return -EOPNOTSUPP;
	event->hw.config = counter;
	event->hw.idx = general;
	return 0;
}

/* ---- cpu: the codes of Haswell-EP */

/* cycles, instructions and reference cycles have fixed counters, as on the real part */
static int core_counter(u64 config, bool *general)
{
	u64 code = config & 0xffff;

	*general = false;
	switch (code) {
	case 0x003c:
		return CBM_CYCLES;
	case 0x00c0:
		return CBM_INSTR;
	case 0x0300:
	case 0x013c:
		return CBM_REF;
	}
	*general = true;
	switch (code) {
	case 0x4f2e:
		return CBM_LLC_REF;
	case 0x412e:
		return CBM_LLC_MISS;
	case 0x00c4:
		return CBM_BRANCH;
	case 0x00c5:
		return CBM_BRANCH_MISS;
	}
	return CBM_OTHER0 + (((code ^ code >> 8) * 2654435761u) >> 29 & 7);
}

/* A group that can never be on the counters together is refused when it is opened. */
static bool group_fits(struct perf_event *event)
{
	struct perf_event *leader = event->group_leader, *sibling;
	unsigned int wanted = event->hw.idx;

	if (leader == event)
		return wanted <= cbm_settings.counters;
	if (leader->pmu == event->pmu)
		wanted += leader->hw.idx;
	for_each_sibling_event(sibling, leader)
		if (sibling->pmu == event->pmu)
			wanted += sibling->hw.idx;
	return wanted <= cbm_settings.counters;
}

static int cpu_event_init(struct perf_event *event)
{
	static const int generic[] = { CBM_CYCLES, CBM_INSTR, CBM_LLC_REF, CBM_LLC_MISS, CBM_BRANCH,
				       CBM_BRANCH_MISS, -1, -1, -1, CBM_REF };
	u64 config = event->attr.config;
	bool general = true;
	int counter, r;

	switch (event->attr.type) {
	case PERF_TYPE_HARDWARE:
		if (config >= ARRAY_SIZE(generic) || generic[config] < 0)
			return -ENOENT;
		counter = generic[config];
		general = counter > CBM_INSTR;
		break;
	case PERF_TYPE_HW_CACHE:
		if ((config & 0xff) != PERF_COUNT_HW_CACHE_LL)
			return -ENOENT;
		counter = config >> 16 & 0xff ? CBM_LLC_MISS : CBM_LLC_REF;
		break;
	default:
		if (event->attr.type != event->pmu->type)
			return -ENOENT;
		counter = core_counter(config, &general);
	}
	r = init_event(event, counter, general);
	return r ? r : group_fits(event) ? 0 : -EINVAL;
}

static int msr_event_init(struct perf_event *event)
{
	static const int msr[] = { CBM_TSC, CBM_CYCLES, CBM_REF };
	u64 config = event->attr.config;

	if (event->attr.type != event->pmu->type)
		return -ENOENT;
	return init_event(event, config < ARRAY_SIZE(msr) ? msr[config] : -1, false);
}

/* ---- what belongs to a socket is read on one CPU of it and never per cgroup or task */

static int socket_event_init(struct perf_event *event, int counter)
{
	if (event->attr.type != event->pmu->type)
		return -ENOENT;
	if (event->cpu < 0)
		return -EINVAL;
	event->cpu = cbm_socket_cpu(cbm_socket_of(event->cpu));
	return init_event(event, counter, false);
}

static int power_event_init(struct perf_event *event)
{
	static const int domain[] = { -1, CBM_E_CORE, CBM_E_PACKAGE, CBM_E_DRAM };
	u64 config = event->attr.config;

	return socket_event_init(event, config < ARRAY_SIZE(domain) ? domain[config] : -1);
}

static int pcu_event_init(struct perf_event *event)
{
	switch (event->attr.config) {
	case 0:
		return socket_event_init(event, CBM_PCU_CLOCK);
	case 0x4080:
		return socket_event_init(event, CBM_PCU_C0);
	case 0x8080:
		return socket_event_init(event, CBM_PCU_C3);
	case 0xc080:
		return socket_event_init(event, CBM_PCU_C6);
	}
	return socket_event_init(event, -1);
}

static int imc_event_init(struct perf_event *event)
{
	switch (event->attr.config & 0xffff) {
	case 0:
		return socket_event_init(event, CBM_IMC_CLOCK);
	case 0x304:
		return socket_event_init(event, CBM_CAS_READ);
	case 0xc04:
		return socket_event_init(event, CBM_CAS_WRITE);
	}
	return socket_event_init(event, -1);
}

/* ---- sysfs */

static ssize_t text_show(struct device *device, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%s\n",
			  container_of(attr, struct perf_pmu_events_attr, attr)->event_str);
}

static ssize_t cpumask_show(struct device *device, struct device_attribute *attr, char *buf)
{
	int s, n = 0;

	for (s = 0; s < cbm_sockets(); s++)
		n += sysfs_emit_at(buf, n, "%s%d", s ? "," : "", cbm_socket_cpu(s));
	return n + sysfs_emit_at(buf, n, "\n");
}
static DEVICE_ATTR_RO(cpumask);

#define TEXT(file, text)                                                                   \
	(&((struct perf_pmu_events_attr[]){ { .attr = { .attr = { .name = file, .mode = 0444 }, \
							.show = text_show },               \
					      .event_str = text } })[0].attr.attr)
#define SCALE "2.3283064365386962890625e-10"
#define MIB "6.103515625e-5"

static struct attribute *core_format[] = { TEXT("event", "config:0-7"), TEXT("umask", "config:8-15"),
	TEXT("edge", "config:18"), TEXT("inv", "config:23"), TEXT("cmask", "config:24-31"), NULL };
static struct attribute *core_events[] = { TEXT("cpu-cycles", "event=0x3c"),
	TEXT("instructions", "event=0xc0"), TEXT("ref-cycles", "event=0x00,umask=0x03"),
	TEXT("cache-references", "event=0x2e,umask=0x4f"),
	TEXT("cache-misses", "event=0x2e,umask=0x41"), TEXT("branch-instructions", "event=0xc4"),
	TEXT("branch-misses", "event=0xc5"), NULL };
static struct attribute *event_format[] = { TEXT("event", "config:0-7"), NULL };
static struct attribute *power_events[] = {
	TEXT("energy-cores", "event=0x01"), TEXT("energy-cores.unit", "Joules"),
	TEXT("energy-cores.scale", SCALE), TEXT("energy-pkg", "event=0x02"),
	TEXT("energy-pkg.unit", "Joules"), TEXT("energy-pkg.scale", SCALE),
	TEXT("energy-ram", "event=0x03"), TEXT("energy-ram.unit", "Joules"),
	TEXT("energy-ram.scale", SCALE), NULL };
static struct attribute *pcu_format[] = { TEXT("event", "config:0-7"), TEXT("occ_sel", "config:14-15"),
	TEXT("edge", "config:18"), TEXT("inv", "config:23"), TEXT("thresh", "config:24-31"), NULL };
static struct attribute *pcu_events[] = { TEXT("clockticks", "event=0x00"), NULL };
static struct attribute *imc_events[] = { TEXT("clockticks", "event=0x00"),
	TEXT("cas_count_read", "event=0x04,umask=0x03"), TEXT("cas_count_read.scale", MIB),
	TEXT("cas_count_read.unit", "MiB"), TEXT("cas_count_write", "event=0x04,umask=0x0c"),
	TEXT("cas_count_write.scale", MIB), TEXT("cas_count_write.unit", "MiB"), NULL };
static struct attribute *msr_format[] = { TEXT("event", "config:0-63"), NULL };
static struct attribute *msr_events[] = { TEXT("tsc", "event=0x00"), TEXT("aperf", "event=0x01"),
	TEXT("mperf", "event=0x02"), NULL };
static struct attribute *socket_mask[] = { &dev_attr_cpumask.attr, NULL };

static const struct attribute_group core_format_group = { .name = "format", .attrs = core_format };
static const struct attribute_group core_events_group = { .name = "events", .attrs = core_events };
static const struct attribute_group event_format_group = { .name = "format", .attrs = event_format };
static const struct attribute_group power_events_group = { .name = "events", .attrs = power_events };
static const struct attribute_group pcu_format_group = { .name = "format", .attrs = pcu_format };
static const struct attribute_group pcu_events_group = { .name = "events", .attrs = pcu_events };
static const struct attribute_group imc_events_group = { .name = "events", .attrs = imc_events };
static const struct attribute_group msr_format_group = { .name = "format", .attrs = msr_format };
static const struct attribute_group msr_events_group = { .name = "events", .attrs = msr_events };
static const struct attribute_group mask_group = { .attrs = socket_mask };

static const struct attribute_group *cpu_groups[] = { &core_format_group, &core_events_group, NULL };
static const struct attribute_group *power_groups[] = { &event_format_group, &power_events_group,
							&mask_group, NULL };
static const struct attribute_group *pcu_groups[] = { &pcu_format_group, &pcu_events_group,
						      &mask_group, NULL };
static const struct attribute_group *imc_groups[] = { &core_format_group, &imc_events_group,
						      &mask_group, NULL };
static const struct attribute_group *msr_groups[] = { &msr_format_group, &msr_events_group, NULL };

#define PMU(context, init, groups, more)                                                           \
	{                                                                                          \
		.module = THIS_MODULE, .task_ctx_nr = context, .event_init = init, .add = add,     \
		.del = del, .start = start, .stop = stop, .read = read, .attr_groups = groups,     \
		.capabilities = PERF_PMU_CAP_NO_INTERRUPT | (more),                                \
	}
static struct pmu cpu_pmu = PMU(perf_hw_context, cpu_event_init, cpu_groups, 0);
static struct pmu power_pmu = PMU(perf_invalid_context, power_event_init, power_groups,
				  PERF_PMU_CAP_NO_EXCLUDE);
static struct pmu pcu_pmu = PMU(perf_invalid_context, pcu_event_init, pcu_groups,
				PERF_PMU_CAP_NO_EXCLUDE);
static struct pmu imc_pmu = PMU(perf_invalid_context, imc_event_init, imc_groups,
				PERF_PMU_CAP_NO_EXCLUDE);
static struct pmu msr_pmu = PMU(perf_sw_context, msr_event_init, msr_groups,
				PERF_PMU_CAP_NO_EXCLUDE);

/* Hidden only while no event of it is open: the caller sees to that. */
int cbm_power_pmu_show(bool show)
{
	static bool shown;
	int r = 0;

	if (show && !shown)
		r = perf_pmu_register(&power_pmu, "power", -1);
	else if (!show && shown)
		perf_pmu_unregister(&power_pmu);
	if (!r)
		shown = show;
	return r;
}

int cbm_pmu_init(void)
{
	int r = perf_pmu_register(&cpu_pmu, "cpu", PERF_TYPE_RAW);

	if (!r && cpu_pmu.type != PERF_TYPE_RAW)
		r = -EBUSY;	/* a real PMU is there */
	if (!r)
		r = perf_pmu_register(&pcu_pmu, "uncore_pcu", -1);
	if (!r)
		r = perf_pmu_register(&imc_pmu, "uncore_imc_0", -1);
	if (!r)
		r = perf_pmu_register(&msr_pmu, "msr", -1);
	return r;
}
