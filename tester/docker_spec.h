/* SPDX-License-Identifier: Apache-2.0 */
/* docker_spec.h - the JSON body that makes a container (Docker Engine API, "Create a container").
 */
#ifndef CB_TESTER_DOCKER_SPEC_H
#define CB_TESTER_DOCKER_SPEC_H

#include "tester/docker_client.h"

/* free() *@ret_json. Errors: -EINVAL a text that is not UTF-8, -ENOMEM. */
int cb_docker_spec_format(const struct cb_docker_client_spec *spec, char **ret_json,
                          struct cb_err *err) cb_must_check;

#endif
