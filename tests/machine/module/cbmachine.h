/* SPDX-License-Identifier: GPL-2.0 */
/*
 * cbmachine - an Intel server whose true energy is known, for a Linux 6.1 x86-64 guest.
 *
 * main.c     parameters, start, the probe on context switches
 * account.c  the machine itself: who runs where, what it counts and what it costs
 * pmu.c      perf PMUs over it: cpu, power, uncore_pcu, uncore_imc_0, msr
 * rapl.c     powercap zones over it: intel-rapl:N with core and dram
 * proc.c     /proc/cbmachine/: truth, recent, control, burn
 *
 * Every CPU is at every instant idle or runs one task. A task has a signature (chosen by the
 * beginning of its comm) that fixes its instructions per cycle, misses and branches; a running
 * CPU's counters advance by the clock, and each step of account.c computes one integer number of
 * picojoules, which is added to the CPU (from which RAPL is read), to the signature and to the
 * task's cgroups. So the truth sums exactly, picojoule by picojoule, to what RAPL shows.
 *
 *   core    = (cycles * pj_cycle + instr * pj_instr + cycles * pj_curve * ipc^2)
 *             * (f / base)^2 * (1 + warm * w) * (1 + noise)
 *   package = core + misses * pj_miss * (1 + noise)         per running CPU
 *             + idle power, drifting slowly                 per socket, in no container's truth
 *             + joint terms (uncore_mw, smt_mw)             per socket, booked as `shared`
 *   dram    = misses * pj_dram * (1 + noise) + idle power
 *
 * w is how busy the CPU itself was lately (0..1, time constant 3 s); the noise is drawn anew every
 * 20 ms and CPU. Both belong to one CPU, so the truth of a container stays well defined; what
 * depends on two CPUs at once (the joint terms, off by default) belongs to nobody.
 */
#ifndef CBMACHINE_H
#define CBMACHINE_H

#include <linux/sched.h>
#include <linux/spinlock.h>
#include <linux/types.h>

#define CBM_MAX_SOCKETS 8
#define CBM_MAX_CPUS 64
#define CBM_SIGNATURES 8
#define CBM_ROWS 2048		/* cgroups a CPU can keep the truth of, power of two */
#define CBM_PATH 160
#define CBM_RANGE_UJ 262143328850ULL	/* max_energy_range_uj of real servers */

/* Counters of one CPU */
enum cbm_counter {
	CBM_CYCLES, CBM_REF, CBM_INSTR, CBM_LLC_REF, CBM_LLC_MISS, CBM_BRANCH, CBM_BRANCH_MISS,
	CBM_OTHER0, CBM_OTHER7 = CBM_OTHER0 + 7,	/* any other event code: no part in energy */
	CBM_CPU_COUNTERS,
	/* not of a running task */
	CBM_TSC,
	/* of a socket */
	CBM_E_PACKAGE, CBM_E_CORE, CBM_E_DRAM,
	CBM_PCU_CLOCK, CBM_PCU_C0, CBM_PCU_C3, CBM_PCU_C6,
	CBM_CAS_READ, CBM_CAS_WRITE, CBM_IMC_CLOCK,
};

struct cbm_energy {
	u64 ns;			/* time on a CPU */
	u64 package_pj;
	u64 core_pj;
	u64 dram_pj;
};

struct cbm_signature {
	char comm[TASK_COMM_LEN];	/* prefix; "" for every other task */
	unsigned int ipc;		/* instructions per 1000 cycles */
	unsigned int mpki;		/* LLC misses per 1000000 instructions */
	unsigned int branches;		/* per 1000 instructions */
};

/* hierarchy a row of the truth belongs to */
enum cbm_hierarchy { CBM_V2, CBM_PERF, CBM_HIERARCHIES };

struct cbm_row {
	u64 id;			/* of the cgroup */
	u64 touched_ns;		/* when it last ran */
	enum cbm_hierarchy hierarchy;
	struct cbm_energy energy;
	char path[CBM_PATH];
};

/* What can be set by /proc/cbmachine/control; the first four per socket */
struct cbm_settings {
	unsigned int freq_khz[CBM_MAX_SOCKETS];
	unsigned int base_khz;
	unsigned int idle_mw, dram_idle_mw;	/* per socket */
	unsigned int drift_permille, drift_period_s;	/* of idle power, a triangle */
	unsigned int pj_cycle, pj_instr, pj_curve, pj_miss, pj_dram;
	unsigned int warm_permille, noise_permille;
	unsigned int uncore_mw;			/* joint: while any CPU of the socket is busy */
	unsigned int smt_mw;			/* joint: while CPUs 2k and 2k+1 of a socket are */
	unsigned int counters;			/* general-purpose counters of a CPU */
};
extern struct cbm_settings cbm_settings;
extern struct cbm_signature cbm_signatures[CBM_SIGNATURES];

/* account.c */
int cbm_account_init(void);
void cbm_rates_changed(void);		/* after a change of settings or signatures */
void cbm_switch(struct task_struct *prev, struct task_struct *next);
u64 cbm_read(enum cbm_counter counter, int socket);	/* socket: of the socket's counters */
u64 cbm_energy_pj(enum cbm_counter domain, int socket);
int cbm_socket_of(int cpu);
int cbm_socket_cpu(int socket);		/* the CPU that reads for the socket; -1: no such socket */
int cbm_sockets(void);
u64 cbm_now(void);			/* CLOCK_BOOTTIME */

struct cbm_socket_truth {
	struct cbm_energy idle;
	u64 shared_pj;
};
struct cbm_snapshot {
	u64 now;
	struct cbm_energy cpu[CBM_MAX_CPUS];
	struct cbm_energy signature[CBM_MAX_CPUS][CBM_SIGNATURES];
	u64 lost_ns[CBM_MAX_CPUS];
	struct cbm_socket_truth socket[CBM_MAX_SOCKETS];
	size_t n_rows;
	int row_cpu[4 * CBM_ROWS];
	struct cbm_row row[4 * CBM_ROWS];
};
/* All of one moment. Rows that did not run since @since_ns are left out. */
void cbm_take_snapshot(struct cbm_snapshot *snapshot, u64 since_ns);

/* pmu.c, rapl.c, proc.c */
int cbm_pmu_init(void);
int cbm_power_pmu_show(bool show);
int cbm_powercap_show(bool show);
void cbm_powercap_set(u64 value_uj);	/* all zones read this now, and wrap at CBM_RANGE_UJ */
int cbm_proc_init(void);

#endif
