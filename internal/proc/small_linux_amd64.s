#include "textflag.h"

// What the init does once the server runs, as a program of its own: package proc
// makes an executable of these bytes. They stand by themselves: no stack of the
// runtime's, no addresses but that of the parameters, no more than system calls.
//
// At 0x4000b0 (smallParameters) are the server's pid and the descriptor on which
// SIGCHLD is read, 4 bytes each, then the name of this process.

// func smallInitAddr() unsafe.Pointer
TEXT ·smallInitAddr(SB), NOSPLIT, $0-8
	LEAQ ·smallInit(SB), AX
	MOVQ AX, ret+0(FP)
	RET

// func smallInit()
TEXT ·smallInit(SB), NOSPLIT|NOFRAME, $0
	SUBQ $256, SP
	MOVQ $0x4000b0, R12

	// prctl(PR_SET_NAME, name): else it is called after the file that it is from.
	MOVQ $157, AX
	MOVQ $15, DI
	LEAQ 8(R12), SI
	SYSCALL

reap:	// wait4(-1, 0(SP), WNOHANG, nil)
	MOVQ $61, AX
	MOVQ $-1, DI
	LEAQ 0(SP), SI
	MOVQ $1, DX
	XORQ R10, R10
	SYSCALL
	CMPQ AX, $0
	JEQ  wait
	CMPQ AX, $-4              // EINTR
	JEQ  reap
	CMPQ AX, $0
	JLT  end                  // ECHILD: nobody is left
	CMPL AX, 0(R12)
	JNE  reap

	// sendto(3, 'W' and the status, 5, MSG_NOSIGNAL, nil, 0)
	MOVB $0x57, 15(SP)
	MOVL 0(SP), AX
	MOVL AX, 16(SP)
	MOVQ $44, AX
	MOVQ $3, DI
	LEAQ 15(SP), SI
	MOVQ $5, DX
	MOVQ $0x4000, R10
	XORQ R8, R8
	XORQ R9, R9
	SYSCALL
	JMP  reap

wait:	// ppoll({3, POLLIN}, {SIGCHLD's, POLLIN}; for ever)
	MOVL $3, 32(SP)
	MOVL $1, 36(SP)
	MOVL 4(R12), AX
	MOVL AX, 40(SP)
	MOVL $1, 44(SP)
	MOVQ $271, AX
	LEAQ 32(SP), DI
	MOVQ $2, SI
	XORQ DX, DX
	XORQ R10, R10
	XORQ R8, R8
	SYSCALL
	CMPQ AX, $0
	JLE  reap

	CMPW 46(SP), $0           // of SIGCHLD: read it, so that the next one shows
	JEQ  hear
	MOVQ $0, AX
	MOVL 40(SP), DI
	LEAQ 64(SP), SI
	MOVQ $128, DX
	SYSCALL

hear:	// read(3): what the other side says, or its end
	CMPW 38(SP), $0
	JEQ  reap
	MOVQ $0, AX
	MOVQ $3, DI
	LEAQ 64(SP), SI
	MOVQ $16, DX
	SYSCALL
	CMPQ AX, $-4
	JEQ  reap
	CMPQ AX, $0
	JLE  end
	CMPB 64(SP), $0x54        // 'T'
	JNE  reap

	// kill(-1, SIGTERM)
	MOVQ $62, AX
	MOVQ $-1, DI
	MOVQ $15, SI
	SYSCALL
	JMP  reap

end:	// exit_group(0)
	MOVQ $231, AX
	XORQ DI, DI
	SYSCALL

	// The mark of the end, which is never reached.
	QUAD $0x646e652068747265
