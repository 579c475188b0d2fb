package main

import "C" // for slack_linux.c
