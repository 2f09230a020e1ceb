/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_events.h - cbsensor --list-events: the counter events that this machine has names for. */
#ifndef CB_SENSOR_CMD_EVENTS_H
#define CB_SENSOR_CMD_EVENTS_H

#include <stdbool.h>

/* Print the PMUs below @root and what libpfm4 knows of this CPU; returns the exit status. */
int cb_cmd_events(const char *root, bool json);

#endif
