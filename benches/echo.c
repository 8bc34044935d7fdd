// The floor: returns each datagram as a reply of an answer's size, so it costs what the system calls cost.
//
// usage: echo ADDRESS PORT EXTRA WORKERS
//   EXTRA    octets a reply is longer than its query, at most 400
//   WORKERS  threads, each with its own SO_REUSEPORT socket

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BATCH = 64, MAX_QUERY = 512, MAX_EXTRA = 400, HEADER = 12 };

static struct sockaddr_in address = {.sin_family = AF_INET};
static size_t extra;

static int bound_socket(void) {
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), on = 1, room = 1 << 20;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room) < 0 ||
        bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
        err(1, "cannot listen");
    return fd;
}

static void *serve(void *unused) {
    (void)unused;
    static _Thread_local uint8_t octets[BATCH][MAX_QUERY + MAX_EXTRA];
    struct sockaddr_in peers[BATCH];
    struct iovec parts[BATCH];
    struct mmsghdr messages[BATCH];
    int fd = bound_socket();
    for (int i = 0; i < BATCH; i++) {
        parts[i] = (struct iovec){octets[i], MAX_QUERY};
        messages[i].msg_hdr = (struct msghdr){
            .msg_name = &peers[i], .msg_namelen = sizeof peers[i], .msg_iov = &parts[i], .msg_iovlen = 1};
    }
    for (;;) {
        int got = recvmmsg(fd, messages, BATCH, MSG_WAITFORONE, NULL);
        for (int i = 0; i < got; i++) {
            // Too short to be DNS: sent back empty, nobody waits for it.
            parts[i].iov_len = messages[i].msg_len < HEADER ? 0 : messages[i].msg_len + extra;
            octets[i][2] |= 0x80; // QR
        }
        for (int sent = 0; sent < got;) {
            int n = sendmmsg(fd, messages + sent, (unsigned)(got - sent), 0);
            sent += n > 0 ? n : 1; // the first one cannot be sent: leave it out
        }
        for (int i = 0; i < got; i++) {
            parts[i].iov_len = MAX_QUERY;
            messages[i].msg_hdr.msg_namelen = sizeof peers[i];
        }
    }
    return NULL;
}

int main(int argc, char **argv) {
    if (argc != 5 || inet_pton(AF_INET, argv[1], &address.sin_addr) != 1)
        errx(64, "usage: echo ADDRESS PORT EXTRA WORKERS");
    address.sin_port = htons((uint16_t)atoi(argv[2]));
    extra = strtoul(argv[3], NULL, 10);
    if (extra > MAX_EXTRA)
        errx(64, "EXTRA is at most %d", MAX_EXTRA);
    for (int left = atoi(argv[4]); left > 1; left--) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, serve, NULL) != 0)
            errx(1, "cannot start a thread");
    }
    serve(NULL);
}
