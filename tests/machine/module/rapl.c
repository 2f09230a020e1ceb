// SPDX-License-Identifier: GPL-2.0
/* rapl.c - see cbmachine.h. One zone a socket, "package-N", with the parts "core" and "dram". */
#include <linux/err.h>
#include <linux/math64.h>
#include <linux/powercap.h>

#include "cbmachine.h"

#define PARTS 3

static const enum cbm_counter domain_of[PARTS] = { CBM_E_PACKAGE, CBM_E_CORE, CBM_E_DRAM };
static struct powercap_control_type *control;
static struct powercap_zone *zones[CBM_MAX_SOCKETS][PARTS];
static u64 offset_uj[CBM_MAX_SOCKETS][PARTS];

static u64 counted_uj(int socket, int part)
{	/* in the same steps of 2^-14 J as the perf PMU */
	return mul_u64_u64_div_u64(cbm_read(domain_of[part], socket) >> 18, 1000000, 1 << 14);
}

static int get_energy(struct powercap_zone *zone, u64 *uj)
{
	int s, p;

	for (s = 0; s < CBM_MAX_SOCKETS; s++)
		for (p = 0; p < PARTS; p++)
			if (zones[s][p] == zone) {
				div64_u64_rem(counted_uj(s, p) + offset_uj[s][p], CBM_RANGE_UJ, uj);
				return 0;
			}
	return -ENODEV;
}

static int get_range(struct powercap_zone *zone, u64 *uj)
{
	*uj = CBM_RANGE_UJ;
	return 0;
}

static int get_zero(struct powercap_zone *zone, int constraint, u64 *value)
{
	*value = 0;
	return 0;
}

static int set_nothing(struct powercap_zone *zone, int constraint, u64 value)
{
	return -EACCES;
}

static const struct powercap_zone_ops zone_ops = {
	.get_max_energy_range_uj = get_range,
	.get_energy_uj = get_energy,
};
static const struct powercap_zone_constraint_ops constraint_ops = {
	.get_power_limit_uw = get_zero,
	.set_power_limit_uw = set_nothing,
	.get_time_window_us = get_zero,
	.set_time_window_us = set_nothing,
};

void cbm_powercap_set(u64 value_uj)
{
	int s, p;

	for (s = 0; s < cbm_sockets(); s++)
		for (p = 0; p < PARTS; p++)
			offset_uj[s][p] = value_uj % CBM_RANGE_UJ + CBM_RANGE_UJ -
					  counted_uj(s, p) % CBM_RANGE_UJ;
}

static int register_zones(void)
{
	static const char *const names[PARTS] = { NULL, "core", "dram" };
	char package[16];
	int s, p;

	for (s = 0; s < cbm_sockets(); s++)
		for (p = 0; p < PARTS; p++) {
			snprintf(package, sizeof(package), "package-%d", s);
			zones[s][p] = powercap_register_zone(NULL, control, p ? names[p] : package,
							     p ? zones[s][0] : NULL, &zone_ops, 0,
							     &constraint_ops);
			if (IS_ERR(zones[s][p]))
				return PTR_ERR(zones[s][p]);
		}
	return 0;
}

int cbm_powercap_show(bool show)
{
	int s, p;

	if (show && !control) {
		control = powercap_register_control_type(NULL, "intel-rapl", NULL);
		if (IS_ERR(control)) {
			int r = PTR_ERR(control);

			control = NULL;
			return r;
		}
		return register_zones();
	}
	if (!show && control) {
		for (s = 0; s < cbm_sockets(); s++)
			for (p = PARTS - 1; p >= 0; p--) {
				powercap_unregister_zone(control, zones[s][p]);
				zones[s][p] = NULL;
			}
		powercap_unregister_control_type(control);
		control = NULL;
	}
	return 0;
}
