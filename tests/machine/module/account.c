// SPDX-License-Identifier: GPL-2.0
/* account.c - see cbmachine.h. */
#include <linux/cgroup.h>
#include <linux/hash.h>
#include <linux/math64.h>
#include <linux/percpu.h>
#include <linux/timekeeping.h>
#include <linux/topology.h>
#include <linux/vmalloc.h>
#include <asm/tsc.h>

#include "cbmachine.h"

#define Q 20				/* fraction bits of a rate */
#define STEP_NS (20 * NSEC_PER_MSEC)	/* longest step: noise and warmth are constant in it */
#define WARM_NS (3ULL * NSEC_PER_SEC)
#define ONE 65536			/* 1.0 of factors */

struct rates {				/* per ns, in Q */
	u64 count[CBM_CPU_COUNTERS];
	u64 core, miss, dram;		/* pJ */
};

/* Who a CPU works for */
struct who {
	struct task_struct *task;
	int signature;			/* -1: idle */
	struct cbm_row *row[CBM_HIERARCHIES];
};

struct table {				/* the rows of one CPU */
	unsigned int n;
	struct cbm_row row[CBM_ROWS];
	u16 hash[2 * CBM_ROWS];		/* index into row + 1; 0: free */
};

struct vcpu {
	raw_spinlock_t lock;
	int socket, index;		/* index: within the socket */
	u64 last_ns, started_ns;
	struct who now, before;		/* before: until the switch that goes on is done */
	u64 count[CBM_CPU_COUNTERS], count_rem[CBM_CPU_COUNTERS];
	u64 core_rem, miss_rem, dram_rem;
	u64 warm, noise, noise_until_ns, random;
	struct cbm_energy total, by_signature[CBM_SIGNATURES];
	u64 lost_ns;
	struct table *table;
};

struct socket {
	raw_spinlock_t lock;
	int cpu, cpus;
	u64 last_ns, started_ns;
	u64 package_pj, dram_pj, rem, dram_rem;	/* idle */
	u64 shared_pj;
	u64 busy;			/* bit per CPU of the socket */
};

static DEFINE_PER_CPU(struct vcpu, vcpus);
static struct socket sockets[CBM_MAX_SOCKETS];
static struct rates rates[CBM_MAX_SOCKETS][CBM_SIGNATURES];
static int n_sockets;

u64 cbm_now(void)
{
	return ktime_get_boot_fast_ns();
}

int cbm_socket_of(int cpu)
{
	return per_cpu(vcpus, cpu).socket;
}

int cbm_socket_cpu(int socket)
{
	return socket < n_sockets ? sockets[socket].cpu : -1;
}

int cbm_sockets(void)
{
	return n_sockets;
}

static void set_rates(struct rates *r, const struct cbm_signature *s, int index, u64 freq_khz)
{
	const struct cbm_settings *set = &cbm_settings;
	u64 cycles = div_u64(freq_khz << Q, 1000000), instr = div_u64(cycles * s->ipc, 1000);
	u64 f2 = div64_u64(freq_khz * freq_khz << 10, (u64)set->base_khz * set->base_khz);
	u64 misses = div_u64(instr * s->mpki, 1000000);
	int i;

	r->count[CBM_CYCLES] = cycles;
	r->count[CBM_REF] = div_u64((u64)set->base_khz << Q, 1000000);
	r->count[CBM_INSTR] = instr;
	r->count[CBM_LLC_MISS] = misses;
	r->count[CBM_LLC_REF] = misses * 4 + div_u64(instr, 200);
	r->count[CBM_BRANCH] = div_u64(instr * s->branches, 1000);
	r->count[CBM_BRANCH_MISS] = div_u64(r->count[CBM_BRANCH], 100);
	for (i = 0; i < 8; i++)
		r->count[CBM_OTHER0 + i] =
			div_u64(cycles * (((index + 3) * 2654435761u >> i) % 97 + 1), 200);
	r->core = (cycles * set->pj_cycle + instr * set->pj_instr +
		   div_u64(cycles * set->pj_curve * s->ipc, 1000) * s->ipc / 1000) * f2 >> 10;
	r->miss = misses * set->pj_miss;
	r->dram = misses * set->pj_dram;
}

static int signature_of(struct task_struct *task)
{
	int s;

	if (!task->pid)
		return -1;
	for (s = 1; s < CBM_SIGNATURES; s++) {
		const char *comm = cbm_signatures[s].comm;

		if (comm[0] && !strncmp(task->comm, comm, strlen(comm)))
			return s;
	}
	return 0;
}

static struct cbm_row *find_row(struct table *t, struct cgroup *cgroup, enum cbm_hierarchy hierarchy)
{
	u64 id = cgroup_id(cgroup);
	unsigned int i = hash_64(id * 2 + hierarchy, ilog2(ARRAY_SIZE(t->hash)));
	struct cbm_row *row;

	for (; t->hash[i]; i = (i + 1) % ARRAY_SIZE(t->hash)) {
		row = &t->row[t->hash[i] - 1];
		if (row->id == id && row->hierarchy == hierarchy)
			return row;
	}
	if (t->n == CBM_ROWS)
		return NULL;
	row = &t->row[t->n++];
	t->hash[i] = t->n;
	row->id = id;
	row->hierarchy = hierarchy;
	cgroup_path(cgroup, row->path, CBM_PATH);
	return row;
}

static void identify(struct vcpu *v, struct who *who, struct task_struct *task)
{
	struct cgroup *v2, *perf;

	who->task = task;
	who->signature = signature_of(task);
	who->row[CBM_V2] = who->row[CBM_PERF] = NULL;
	if (who->signature < 0)
		return;
	rcu_read_lock();
	v2 = task_dfl_cgroup(task);
	perf = task_css_check(task, perf_event_cgrp_id, true)->cgroup;
	who->row[CBM_V2] = find_row(v->table, v2, CBM_V2);
	if (perf->root != v2->root)
		who->row[CBM_PERF] = find_row(v->table, perf, CBM_PERF);
	rcu_read_unlock();
}

/* Noise of mean 0 and standard deviation 1 in ONE, from four uniform draws */
static s64 draw(u64 *random)
{
	s64 sum = 0;
	int i;

	*random ^= *random << 13;
	*random ^= *random >> 7;
	*random ^= *random << 17;
	for (i = 0; i < 4; i++)
		sum += *random >> (16 * i) & 0xffff;
	return (sum - 2 * ONE) * 1000 / 577;
}

/* dt * rate * factor, the fraction kept for the next time */
static u64 advance(u64 dt, u64 rate, u64 factor, u64 *rem)
{
	u64 t = *rem + mul_u64_u64_shr(dt * rate, factor, 16);

	*rem = t & ((1ULL << Q) - 1);
	return t >> Q;
}

static void add(struct cbm_energy *to, const struct cbm_energy *e)
{
	to->ns += e->ns;
	to->package_pj += e->package_pj;
	to->core_pj += e->core_pj;
	to->dram_pj += e->dram_pj;
}

/* One step of at most STEP_NS. v->lock held. */
static void step(struct vcpu *v, const struct who *who, u64 dt)
{
	bool busy = who->signature >= 0;
	const struct rates *r;
	struct cbm_energy e;
	u64 warm;
	int i;

	if (busy)
		v->warm += div64_u64((ONE - v->warm) * dt, WARM_NS);
	else
		v->warm -= div64_u64(v->warm * dt, WARM_NS);
	if (!busy)
		return;
	if (v->last_ns >= v->noise_until_ns) {
		v->noise = ONE + draw(&v->random) * (s64)cbm_settings.noise_permille / 1000;
		v->noise_until_ns = v->last_ns + STEP_NS;
	}
	r = &rates[v->socket][who->signature];
	for (i = 0; i < CBM_CPU_COUNTERS; i++)
		v->count[i] += advance(dt, r->count[i], ONE, &v->count_rem[i]);
	warm = ONE + v->warm * cbm_settings.warm_permille / 1000;
	e.ns = dt;
	e.core_pj = advance(dt, r->core, v->noise * warm / ONE, &v->core_rem);
	e.package_pj = e.core_pj + advance(dt, r->miss, v->noise, &v->miss_rem);
	e.dram_pj = advance(dt, r->dram, v->noise, &v->dram_rem);
	add(&v->total, &e);
	add(&v->by_signature[who->signature], &e);
	for (i = 0; i < CBM_HIERARCHIES; i++)
		if (who->row[i]) {
			add(&who->row[i]->energy, &e);
			who->row[i]->touched_ns = v->last_ns + dt;
		} else if (i == CBM_V2)
			v->lost_ns += dt;
}

static void settle(struct vcpu *v, const struct who *who, u64 now)
{
	while (v->last_ns < now) {
		u64 dt = min_t(u64, now - v->last_ns, STEP_NS);

		step(v, who, dt);
		v->last_ns += dt;
	}
}

/* Idle power drifts along a triangle: -drift at 0, +drift after half a period. s->lock held. */
static void settle_socket(struct socket *s, u64 now)
{
	const struct cbm_settings *set = &cbm_settings;
	u64 period = max(set->drift_period_s, 1u) * NSEC_PER_SEC, at, dt, pairs;
	s64 drift;

	while (s->last_ns < now) {
		dt = min_t(u64, now - s->last_ns, STEP_NS);
		div64_u64_rem(s->last_ns, period, &at);
		if (at > period / 2)
			at = period - at;
		drift = ((s64)div64_u64(at * 4, period >> 16) - ONE) * (s64)set->drift_permille / 1000;
		s->package_pj += advance(dt, (u64)set->idle_mw << Q, ONE + drift, &s->rem);
		s->dram_pj += advance(dt, (u64)set->dram_idle_mw << Q, ONE + drift, &s->dram_rem);
		pairs = s->busy & s->busy >> 1 & 0x5555555555555555ULL;
		if (s->busy)
			s->shared_pj += dt * set->uncore_mw;
		s->shared_pj += dt * set->smt_mw * hweight64(pairs);
		s->last_ns += dt;
	}
}

/* Interrupts are off. The time between the tracepoint and the moment the new task is `current`
 * belongs to the old one, for whom perf still counts. */
static void settle_here(struct vcpu *v)
{
	raw_spin_lock(&v->lock);
	if (v->now.task == current || v->before.task != current) {
		settle(v, &v->now, cbm_now());
		if (v->now.task == current)	/* it may have changed its name or its cgroup */
			identify(v, &v->now, current);
	} else {
		settle(v, &v->before, cbm_now());
	}
	raw_spin_unlock(&v->lock);
}

void cbm_switch(struct task_struct *prev, struct task_struct *next)
{
	struct vcpu *v = this_cpu_ptr(&vcpus);
	struct socket *s = &sockets[v->socket];
	bool was, is;
	u64 now;

	raw_spin_lock(&v->lock);
	now = cbm_now();
	settle(v, &v->now, now);
	was = v->now.signature >= 0;
	v->before = v->now;
	identify(v, &v->now, next);
	is = v->now.signature >= 0;
	if (was != is) {
		raw_spin_lock(&s->lock);
		settle_socket(s, now);
		s->busy ^= 1ULL << v->index;
		raw_spin_unlock(&s->lock);
	}
	raw_spin_unlock(&v->lock);
}

/* Bring a socket and its CPUs to now. */
static void settle_all_of(int socket)
{
	unsigned long flags;
	int cpu;

	for_each_online_cpu(cpu) {
		struct vcpu *v = per_cpu_ptr(&vcpus, cpu);

		if (v->socket != socket)
			continue;
		raw_spin_lock_irqsave(&v->lock, flags);
		settle(v, &v->now, cbm_now());
		raw_spin_unlock_irqrestore(&v->lock, flags);
	}
	raw_spin_lock_irqsave(&sockets[socket].lock, flags);
	settle_socket(&sockets[socket], cbm_now());
	raw_spin_unlock_irqrestore(&sockets[socket].lock, flags);
}

u64 cbm_energy_pj(enum cbm_counter domain, int socket)
{
	struct socket *s = &sockets[socket];
	u64 pj = 0;
	int cpu;

	settle_all_of(socket);
	for_each_online_cpu(cpu) {
		const struct vcpu *v = per_cpu_ptr(&vcpus, cpu);

		if (v->socket != socket)
			continue;
		pj += domain == CBM_E_PACKAGE ? READ_ONCE(v->total.package_pj) :
		      domain == CBM_E_CORE    ? READ_ONCE(v->total.core_pj) :
						READ_ONCE(v->total.dram_pj);
	}
	if (domain == CBM_E_PACKAGE)
		pj += READ_ONCE(s->package_pj) + READ_ONCE(s->shared_pj);
	else if (domain == CBM_E_DRAM)
		pj += READ_ONCE(s->dram_pj);
	return pj;
}

static u64 socket_sum(enum cbm_counter counter, int socket)
{
	u64 sum = 0;
	int cpu;

	for_each_online_cpu(cpu) {
		const struct vcpu *v = per_cpu_ptr(&vcpus, cpu);

		if (v->socket == socket)
			sum += counter < CBM_CPU_COUNTERS ? READ_ONCE(v->count[counter]) :
							    READ_ONCE(v->total.ns);
	}
	return sum;
}

/* The PCU runs at 800 MHz; the memory controller at 1200 MHz. A cycle adds to an occupancy the
 * number of cores in that state; idle cores are in C3 for 30 % of their time, else in C6. */
static u64 read_uncore(enum cbm_counter counter, int socket)
{
	u64 ns, busy, idle;

	settle_all_of(socket);
	ns = cbm_now() - sockets[socket].started_ns;
	busy = socket_sum(CBM_CPU_COUNTERS, socket);
	idle = ns * sockets[socket].cpus - min(busy, ns * sockets[socket].cpus);
	switch (counter) {
	case CBM_PCU_CLOCK:
		return ns * 4 / 5;
	case CBM_PCU_C0:
		return busy * 4 / 5;
	case CBM_PCU_C3:
		return idle * 24 / 100;
	case CBM_PCU_C6:
		return idle * 56 / 100;
	case CBM_CAS_READ:
		return socket_sum(CBM_LLC_MISS, socket);
	case CBM_CAS_WRITE:
		return socket_sum(CBM_LLC_MISS, socket) / 3;
	default:
		return ns * 6 / 5;
	}
}

u64 cbm_read(enum cbm_counter counter, int socket)
{
	unsigned long flags;
	u64 value;

	if (counter < CBM_CPU_COUNTERS) {
		local_irq_save(flags);
		settle_here(this_cpu_ptr(&vcpus));
		value = this_cpu_ptr(&vcpus)->count[counter];
		local_irq_restore(flags);
		return value;
	}
	if (counter == CBM_TSC)
		return rdtsc_ordered();
	if (counter <= CBM_E_DRAM)	/* 2^-32 J, in steps of 2^-14 J = 61 uJ */
		return mul_u64_u64_div_u64(cbm_energy_pj(counter, socket), 1 << 14,
					   1000000000000ULL) << 18;
	return read_uncore(counter, socket);
}

void cbm_rates_changed(void)
{
	int s, i;

	for (s = 0; s < n_sockets; s++) {
		settle_all_of(s);
		for (i = 0; i < CBM_SIGNATURES; i++)
			set_rates(&rates[s][i], &cbm_signatures[i], i, cbm_settings.freq_khz[s]);
	}
}

static void copy_rows(struct cbm_snapshot *snapshot, const struct table *t, int cpu, u64 since_ns)
{
	unsigned int i;

	for (i = 0; i < t->n && snapshot->n_rows < ARRAY_SIZE(snapshot->row); i++)
		if (t->row[i].touched_ns >= since_ns) {
			snapshot->row_cpu[snapshot->n_rows] = cpu;
			snapshot->row[snapshot->n_rows++] = t->row[i];
		}
}

void cbm_take_snapshot(struct cbm_snapshot *snapshot, u64 since_ns)
{
	unsigned long flags;
	int cpu, s;

	snapshot->n_rows = 0;
	local_irq_save(flags);
	for_each_online_cpu(cpu)
		raw_spin_lock(&per_cpu_ptr(&vcpus, cpu)->lock);
	snapshot->now = cbm_now();
	for_each_online_cpu(cpu) {
		struct vcpu *v = per_cpu_ptr(&vcpus, cpu);

		settle(v, &v->now, snapshot->now);
		snapshot->cpu[cpu] = v->total;
		memcpy(snapshot->signature[cpu], v->by_signature, sizeof(v->by_signature));
		snapshot->lost_ns[cpu] = v->lost_ns;
		copy_rows(snapshot, v->table, cpu, since_ns);
	}
	for (s = 0; s < n_sockets; s++) {
		raw_spin_lock(&sockets[s].lock);
		settle_socket(&sockets[s], snapshot->now);
		snapshot->socket[s] = (struct cbm_socket_truth){
			.idle.package_pj = sockets[s].package_pj, .idle.dram_pj = sockets[s].dram_pj,
			.shared_pj = sockets[s].shared_pj };
		raw_spin_unlock(&sockets[s].lock);
	}
	for_each_online_cpu(cpu)
		raw_spin_unlock(&per_cpu_ptr(&vcpus, cpu)->lock);
	local_irq_restore(flags);
}

int cbm_account_init(void)
{
	u64 now = cbm_now();
	int cpu;

	for_each_online_cpu(cpu) {
		struct vcpu *v = per_cpu_ptr(&vcpus, cpu);
		int s = topology_logical_package_id(cpu);

		if (cpu >= CBM_MAX_CPUS || s < 0 || s >= CBM_MAX_SOCKETS)
			return -E2BIG;
		v->table = vzalloc(sizeof(*v->table));
		if (!v->table)
			return -ENOMEM;
		raw_spin_lock_init(&v->lock);
		v->socket = s;
		v->last_ns = v->started_ns = now;
		v->now.signature = v->before.signature = -1;
		v->noise = ONE;
		v->random = 88172645463325252ULL + cpu;
		if (s >= n_sockets)
			n_sockets = s + 1;
		if (!sockets[s].cpus) {
			raw_spin_lock_init(&sockets[s].lock);
			sockets[s].cpu = cpu;
			sockets[s].last_ns = sockets[s].started_ns = now;
		}
		v->index = sockets[s].cpus++;
	}
	cbm_rates_changed();
	return 0;
}
