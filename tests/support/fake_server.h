/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_server.h - an HTTP/1.1 server in the test's own process, on a Unix socket or on loopback.
 *
 * fake_server_listen() makes the socket, so that a child can be forked while there are no threads;
 * fake_server_start() serves, one thread for each connection. Every request is kept as text.
 */
#ifndef CB_TESTS_FAKE_SERVER_H
#define CB_TESTS_FAKE_SERVER_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

struct fake_request {
    char method[16];
    char path[2048]; /* with its query */
    char body[65536];
};

/* Answer on @fd; false closes the connection. */
typedef bool fake_handler(void *arg, const struct fake_request *request, int fd);

#define FAKE_CONNECTIONS_MAX 64

struct fake_server {
    int listen_fd, stop_fds[2];
    int port; /* of loopback; 0 on a Unix socket */
    fake_handler *handler;
    void *arg;
    bool running;
    pthread_t acceptor;
    pthread_mutex_t mutex;
    bool stopping;
    size_t n_connections;
    struct fake_connection {
        struct fake_server *server;
        pthread_t thread;
        int fd;
    } connections[FAKE_CONNECTIONS_MAX];
    char log[262144]; /* "METHOD path body\n" of every request */
    size_t log_size;
};

/* @path NULL: a free port of 127.0.0.1. */
void fake_server_listen(struct fake_server *server, const char *path);
void fake_server_start(struct fake_server *server, fake_handler *handler, void *arg);

/* No new connections, and the present ones are cut. Handlers that wait must look at this. */
bool fake_server_is_stopping(struct fake_server *server);
void fake_server_cut(struct fake_server *server);
void fake_server_stop(struct fake_server *server);

/* True when a request line began with @text. */
bool fake_server_saw(struct fake_server *server, const char *text);

void fake_reply(int fd, int status, const char *headers, const char *body);
void fake_write(int fd, const void *bytes, size_t size);
void fake_sleep_ms(unsigned ms);

#endif
