package home

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/berth-run/berth"
)

// approvalsDir holds what each server's tools were when they were approved. It is made
// with the first.
const approvalsDir = "approvals"

// approvalsMost bounds a file of it, in bytes.
const approvalsMost = 17 << 20

func (h *Home) approvalsPath(server string) (string, error) {
	if err := berth.CheckName(server); err != nil {
		return "", err
	}
	return h.in(approvalsDir, server+".json"), nil
}

// ApprovalsStamp returns the stamp of a server's approvals alone.
func (h *Home) ApprovalsStamp(server string) Stamp {
	path, err := h.approvalsPath(server)
	if err != nil {
		return Stamp{}
	}
	return h.stampOf(path)
}

// ReadApprovals returns a server's approvals as they were written; fs.ErrNotExist if
// there are none.
func (h *Home) ReadApprovals(server string) ([]byte, error) {
	path, err := h.approvalsPath(server)
	if err != nil {
		return nil, err
	}
	f, err := openShared(path)
	if err != nil {
		return nil, fmt.Errorf("read the approvals of %q: %w", server, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, approvalsMost+1))
	if err == nil && len(data) > approvalsMost {
		err = fmt.Errorf("they have more than %d bytes", approvalsMost)
	}
	if err != nil {
		return nil, fmt.Errorf("read the approvals of %q: %w", server, err)
	}
	return data, nil
}

// UpdateApprovals changes a server's approvals, with no other change in between: it
// calls change with what there is, nil for none, and writes what that returns, nothing
// if that is nil.
func (h *Home) UpdateApprovals(server string, change func(old []byte) ([]byte, error)) error {
	path, err := h.approvalsPath(server)
	if err != nil {
		return err
	}
	if err := h.canWrite(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), changePatience)
	defer cancel()
	lock, err := WaitLock(ctx, h.RunLock(approvalsDir))
	if err != nil {
		return fmt.Errorf("change the approvals of %q: %w", server, h.writeError(err))
	}
	defer func() { _ = lock.Unlock() }()
	old, err := h.ReadApprovals(server)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	data, err := change(old)
	if err != nil || data == nil {
		return err
	}
	if err := h.replace(path, data); err != nil {
		return fmt.Errorf("write the approvals of %q: %w", server, err)
	}
	return nil
}

// RemoveApprovals forgets a server's approvals, if there are any.
func (h *Home) RemoveApprovals(server string) error {
	path, err := h.approvalsPath(server)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil // the directory may not be there either
	}
	return h.remove(path)
}
