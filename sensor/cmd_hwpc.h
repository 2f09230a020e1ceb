/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_hwpc.h - cbsensor with hwpc-sensor's command line (hwpc_options.h). */
#ifndef CB_SENSOR_CMD_HWPC_H
#define CB_SENSOR_CMD_HWPC_H

/* Run until a signal or --frames; returns the exit status: 2 for a wrong command line. @print_help
 * is for --help. */
int cb_cmd_hwpc(int argc, char **argv, void (*print_help)(void));

#endif
