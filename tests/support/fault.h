/* SPDX-License-Identifier: Apache-2.0 */
/* fault.h - make the k-th of the wrapped calls (calloc, openat, pread, fdatasync; see
 * the Makefile) fail. */
#ifndef CB_TESTS_FAULT_H
#define CB_TESTS_FAULT_H

/* The call after @k more ones fails: 0 is the next. Only that one fails. */
void fault_arm(int k);
void fault_disarm(void);

/* How often fdatasync() was called so far, by any thread. */
int fault_fdatasyncs(void);

/* Stands in for syscall(2) while it is not NULL; fault_real_syscall() is the real one. */
extern long (*fault_syscall)(long number, const long args[6]);
long fault_real_syscall(long number, const long args[6]);

/* Asked before each bpf_map_update_elem() of ours while it is not NULL: the errno it fails with, 0
 * to let it through. */
extern int (*fault_bpf_update)(void);

#endif
