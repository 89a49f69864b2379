/* Print the IPv4 addresses of a name, a line each, as this program's C library finds them. */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>

int main(int count, char **names)
{
    struct addrinfo want = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found;
    char text[INET_ADDRSTRLEN];

    if (count != 2 || getaddrinfo(names[1], NULL, &want, &found) != 0)
        return 1;
    for (; found; found = found->ai_next) {
        struct sockaddr_in *address = (struct sockaddr_in *)found->ai_addr;
        puts(inet_ntop(AF_INET, &address->sin_addr, text, sizeof text));
    }
    return 0;
}
