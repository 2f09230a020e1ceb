/* SPDX-License-Identifier: Apache-2.0 */
/* cleanup.h - release at scope end, and the only two ways to give a resource away. */
#ifndef CB_LIB_CLEANUP_H
#define CB_LIB_CLEANUP_H

#include <stdlib.h>
#include <unistd.h>

static inline void cb_free_at(void *p)
{
    free(*(void **)p);
}

static inline void cb_close_at(const int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
}

#define cb_auto_free __attribute__((cleanup(cb_free_at)))
#define cb_auto_close __attribute__((cleanup(cb_close_at)))

/* Move ownership out of @var and leave NULL / -1 behind. */
#define cb_take(var)                                                                               \
    __extension__({                                                                                \
        __typeof__(var) cb_taken_ = (var);                                                         \
        (var) = NULL;                                                                              \
        cb_taken_;                                                                                 \
    })
#define cb_take_fd(var)                                                                            \
    __extension__({                                                                                \
        int cb_taken_fd_ = (var);                                                                  \
        (var) = -1;                                                                                \
        cb_taken_fd_;                                                                              \
    })

#define cb_must_check __attribute__((warn_unused_result))

#endif
