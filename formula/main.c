/* SPDX-License-Identifier: Apache-2.0 */
/* main.c - the program; what it can do is in commands.c. */
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "formula/cmd.h"

/* libmongoc shares counters in /dev/shm from the moment it is loaded, and takes the name away at
 * the end only: who is killed would leave one behind, and the next with that PID a warning. */
static void leave_no_counters(void)
{
    char name[32];

    (void)snprintf(name, sizeof(name), "/mongoc-%d", (int)getpid());
    (void)shm_unlink(name);
}

int main(int argc, char **argv)
{
    leave_no_counters();
    return cb_cmd_run(argc, argv);
}
