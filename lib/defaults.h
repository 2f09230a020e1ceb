/* SPDX-License-Identifier: Apache-2.0 */
/* defaults.h - every default that more than one program, the README or a test depends on. */
#ifndef CB_LIB_DEFAULTS_H
#define CB_LIB_DEFAULTS_H

#define CB_VERSION "0.1.0"

#define CB_DEFAULT_TICK "1s"

/* cbsensor -> cbformula, ZeroMQ with CURVE */
#define CB_DEFAULT_LINK_PORT "9770"
#define CB_DEFAULT_LINK_BIND "tcp://127.0.0.1:" CB_DEFAULT_LINK_PORT
#define CB_DEFAULT_LINK_CONNECT CB_DEFAULT_LINK_BIND

/* cbformula's HTTP: JSON API, /metrics, /healthz. Loopback only by default. */
#define CB_DEFAULT_HTTP_PORT "9771"
#define CB_DEFAULT_HTTP_BIND "127.0.0.1:" CB_DEFAULT_HTTP_PORT
#define CB_DEFAULT_FORMULA_URL "http://" CB_DEFAULT_HTTP_BIND
#define CB_ENV_FORMULA_URL "CBFORMULA_URL"

/* <state>/sensor belongs to cbsensor, <state>/formula to cbformula; both are mode 0700. */
#define CB_DEFAULT_STATE "/var/lib/cbwatts"
#define CB_DEFAULT_SENSOR_STATE CB_DEFAULT_STATE "/sensor"
#define CB_DEFAULT_FORMULA_STATE CB_DEFAULT_STATE "/formula"

/* CURVE key files: <sensor state>/sensor.key (secret, 0600) and sensor.pub,
 * <formula state>/formula.key (secret, 0600), formula.pub and known_sensors. */
#define CB_FILE_SENSOR_SECRET "sensor.key"
#define CB_FILE_SENSOR_PUBLIC "sensor.pub"
#define CB_FILE_FORMULA_SECRET "formula.key"
#define CB_FILE_FORMULA_PUBLIC "formula.pub"
#define CB_FILE_KNOWN_SENSORS "known_sensors"
#define CB_FILE_DATABASE "cbwatts.sqlite"

#define CB_DEFAULT_DOCKER_HOST "unix:///var/run/docker.sock"
#define CB_ENV_DOCKER_HOST "DOCKER_HOST"

#endif
