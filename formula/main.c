/* SPDX-License-Identifier: Apache-2.0 */
/* main.c - the program; what it can do is in commands.c. */
#include "formula/cmd.h"

int main(int argc, char **argv)
{
    return cb_cmd_run(argc, argv);
}
