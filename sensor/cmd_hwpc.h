/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_hwpc.h - cbsensor with hwpc-sensor's command line (hwpc_options.h). */
#ifndef CB_SENSOR_CMD_HWPC_H
#define CB_SENSOR_CMD_HWPC_H

/* Run until a signal or --frames; returns the exit status: 2 for a wrong command line. @print_help
 * is for --help. With --formula @own runs beside it (cmd_pair.h), or alone where there is no -r:
 * the sensor with its own command line, and the same name, period and events. */
int cb_cmd_hwpc(int argc, char **argv, void (*print_help)(void), int (*own)(int argc, char **argv));

#endif
