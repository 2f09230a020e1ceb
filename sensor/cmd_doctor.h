/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_doctor.h - `cbsensor doctor [--json]`: doctor.h for people and for scripts. */
#ifndef CB_SENSOR_CMD_DOCTOR_H
#define CB_SENSOR_CMD_DOCTOR_H

/* @argv[0] is "doctor". Returns the exit code: 0 when the report could be made, whatever it says, 1
 * when not, 2 for a wrong command line. */
int cb_cmd_doctor(int argc, char **argv);

#endif
