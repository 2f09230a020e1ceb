// SPDX-License-Identifier: GPL-2.0
/*
 * proc.c - /proc/cbmachine/
 *
 * truth    everything so far, exact, of one moment: `time NS full` (CLOCK_BOOTTIME) and a table
 *            KIND KEY CPU SOCKET NS PACKAGE_PJ CORE_PJ DRAM_PJ NAME
 *          cpu  a CPU's total; sig  its part by signature; cg  its part by cgroup (KEY v2:ID or
 *          perf:ID, NAME the path); idle  a socket's idle part; shared  its joint terms;
 *          lost  time that found no row (0 or the truth is worthless).
 *          For each CPU: cpu == sum of sig == sum of cg v2 + lost.
 *          RAPL of a socket == sum of its cpu + idle + shared (picojoules, then floored).
 * recent   the same with only the cgroups that ran in the last 2 s (`time NS recent`)
 * control  one command a write:
 *            freq KHZ [SOCKET] | sig N COMM IPC MPKI BRANCHES | power on|off | powercap on|off |
 *            powercap_start UJ | counters N | idle_mw N | dram_idle_mw N | drift_permille N |
 *            drift_period_s N | pj_cycle N | pj_instr N | pj_curve N | pj_miss N | pj_dram N |
 *            warm_permille N | noise_permille N | uncore_mw N | smt_mw N
 * burn     write NS: the calling task keeps its CPU for so long. For the guest's kernel it runs
 *          (it is scheduled, preempted, accounted, counted); the emulated CPU halts between
 *          interrupts, so that a fully loaded guest costs its host next to nothing.
 */
#include <linux/hrtimer.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/proc_fs.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "cbmachine.h"

#define RECENT_NS (2ULL * NSEC_PER_SEC)

static DEFINE_MUTEX(lock);
static struct cbm_snapshot *snapshot;

static void show_line(struct seq_file *m, const char *kind, const char *key, int cpu, int socket,
		      const struct cbm_energy *e, const char *name)
{
	seq_printf(m, "%s %s %d %d %llu %llu %llu %llu %s\n", kind, key, cpu, socket, e->ns,
		   e->package_pj, e->core_pj, e->dram_pj, name);
}

static void show_cpu(struct seq_file *m, int cpu)
{
	struct cbm_energy lost = { .ns = snapshot->lost_ns[cpu] };
	int socket = cbm_socket_of(cpu), s;

	show_line(m, "cpu", "-", cpu, socket, &snapshot->cpu[cpu], "-");
	for (s = 0; s < CBM_SIGNATURES; s++)
		if (snapshot->signature[cpu][s].ns)
			show_line(m, "sig", "-", cpu, socket, &snapshot->signature[cpu][s],
				  s ? cbm_signatures[s].comm : "*");
	show_line(m, "lost", "-", cpu, socket, &lost, "-");
}

static int truth_show(struct seq_file *m, void *v)
{
	static const char *const hierarchy[CBM_HIERARCHIES] = { "v2", "perf" };
	bool recent = m->private;
	u64 since = cbm_now();
	int cpu, s;
	size_t i;

	mutex_lock(&lock);
	cbm_take_snapshot(snapshot, recent && since > RECENT_NS ? since - RECENT_NS : 0);
	seq_printf(m, "time %llu %s\n", snapshot->now, recent ? "recent" : "full");
	for (s = 0; s < cbm_sockets(); s++) {
		struct cbm_energy shared = { .package_pj = snapshot->socket[s].shared_pj };

		show_line(m, "idle", "-", -1, s, &snapshot->socket[s].idle, "-");
		show_line(m, "shared", "-", -1, s, &shared, "-");
	}
	for_each_online_cpu(cpu)
		show_cpu(m, cpu);
	for (i = 0; i < snapshot->n_rows; i++) {
		const struct cbm_row *row = &snapshot->row[i];
		char key[32];

		snprintf(key, sizeof(key), "%s:%llu", hierarchy[row->hierarchy], row->id);
		show_line(m, "cg", key, snapshot->row_cpu[i], cbm_socket_of(snapshot->row_cpu[i]),
			  &row->energy, row->path);
	}
	mutex_unlock(&lock);
	return 0;
}

static int truth_open(struct inode *inode, struct file *file)
{
	return single_open_size(file, truth_show, pde_data(inode), 1 << 18);
}

static const struct proc_ops truth_ops = {
	.proc_open = truth_open,
	.proc_read = seq_read,
	.proc_lseek = seq_lseek,
	.proc_release = single_release,
};

/* ---- control */

static const struct {
	const char *name;
	unsigned int *value;
} numbers[] = {
	{ "counters", &cbm_settings.counters },
	{ "idle_mw", &cbm_settings.idle_mw },
	{ "dram_idle_mw", &cbm_settings.dram_idle_mw },
	{ "drift_permille", &cbm_settings.drift_permille },
	{ "drift_period_s", &cbm_settings.drift_period_s },
	{ "pj_cycle", &cbm_settings.pj_cycle },
	{ "pj_instr", &cbm_settings.pj_instr },
	{ "pj_curve", &cbm_settings.pj_curve },
	{ "pj_miss", &cbm_settings.pj_miss },
	{ "pj_dram", &cbm_settings.pj_dram },
	{ "warm_permille", &cbm_settings.warm_permille },
	{ "noise_permille", &cbm_settings.noise_permille },
	{ "uncore_mw", &cbm_settings.uncore_mw },
	{ "smt_mw", &cbm_settings.smt_mw },
};

static int set_number(const char *name, u64 value)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(numbers); i++)
		if (!strcmp(name, numbers[i].name)) {
			if (value > 1000000)
				return -ERANGE;
			*numbers[i].value = value;
			return 0;
		}
	return -EINVAL;
}

static int set_freq(u64 khz, int socket)
{
	int s;

	if (khz < 100000 || khz > 6000000 || socket >= cbm_sockets())
		return -ERANGE;
	for (s = 0; s < cbm_sockets(); s++)
		if (socket < 0 || socket == s)
			cbm_settings.freq_khz[s] = khz;
	return 0;
}

static int set_signature(const char *text)
{
	struct cbm_signature s = { 0 };
	unsigned int n;

	if (sscanf(text, "%u %15s %u %u %u", &n, s.comm, &s.ipc, &s.mpki, &s.branches) != 5 ||
	    n < 1 || n >= CBM_SIGNATURES || s.ipc > 8000)
		return -EINVAL;
	cbm_signatures[n] = s;
	return 0;
}

static int command(char *text)
{
	char word[16], value[8];
	u64 number;
	int socket = -1, r;

	if (!strncmp(text, "sig ", 4)) {
		r = set_signature(text + 4);
	} else if (sscanf(text, "%15s %llu %d", word, &number, &socket) >= 2) {
		if (!strcmp(word, "powercap_start")) {
			cbm_powercap_set(number);
			return 0;
		}
		r = !strcmp(word, "freq") ? set_freq(number, socket) : set_number(word, number);
	} else if (sscanf(text, "%15s %7s", word, value) == 2 &&
		   (!strcmp(value, "on") || !strcmp(value, "off"))) {
		bool show = !strcmp(value, "on");

		return !strcmp(word, "power")	 ? cbm_power_pmu_show(show) :
		       !strcmp(word, "powercap") ? cbm_powercap_show(show) :
						   -EINVAL;
	} else {
		return -EINVAL;
	}
	if (!r)
		cbm_rates_changed();
	return r;
}

static ssize_t control_write(struct file *file, const char __user *user, size_t size, loff_t *pos)
{
	char text[128];
	int r;

	if (size >= sizeof(text))
		return -EINVAL;
	if (copy_from_user(text, user, size))
		return -EFAULT;
	text[size] = '\0';
	mutex_lock(&lock);
	r = command(text);
	mutex_unlock(&lock);
	return r ? r : size;
}

static const struct proc_ops control_ops = { .proc_write = control_write };

/* ---- burn */

static enum hrtimer_restart wake(struct hrtimer *timer)
{
	return HRTIMER_NORESTART;	/* the interrupt itself ends the halt */
}

static ssize_t burn_write(struct file *file, const char __user *user, size_t size, loff_t *pos)
{
	struct hrtimer timer;
	u64 ns, end;
	int r = kstrtou64_from_user(user, size, 10, &ns);

	if (r)
		return r;
	if (ns > 60ULL * NSEC_PER_SEC)
		return -ERANGE;
	end = cbm_now() + ns;
	hrtimer_init_on_stack(&timer, CLOCK_MONOTONIC, HRTIMER_MODE_REL);
	timer.function = wake;
	hrtimer_start(&timer, ns_to_ktime(ns), HRTIMER_MODE_REL);
	while (cbm_now() < end && !signal_pending(current)) {
		local_irq_disable();
		if (need_resched() || cbm_now() >= end)
			local_irq_enable();
		else
			safe_halt();
		cond_resched();
	}
	hrtimer_cancel(&timer);
	destroy_hrtimer_on_stack(&timer);
	return signal_pending(current) ? -EINTR : size;
}

static const struct proc_ops burn_ops = { .proc_write = burn_write };

int cbm_proc_init(void)
{
	struct proc_dir_entry *dir = proc_mkdir("cbmachine", NULL);

	snapshot = vzalloc(sizeof(*snapshot));
	if (!dir || !snapshot || !proc_create_data("truth", 0444, dir, &truth_ops, NULL) ||
	    !proc_create_data("recent", 0444, dir, &truth_ops, (void *)1) ||
	    !proc_create("control", 0200, dir, &control_ops) ||
	    !proc_create("burn", 0222, dir, &burn_ops))
		return -ENOMEM;
	return 0;
}
