package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

const skillsName = "io.modelcontextprotocol/skills"

// file is one of a skill's.
type file struct{ uri, mime, text string }

const (
	skillDir  = "skill://pdf-processing"
	skillFile = skillDir + "/SKILL.md"

	skillTitle   = "pdf-processing"
	skillPurpose = "Extract, fill, and assemble PDF documents"
)

func skillFiles() []file {
	return []file{
		{skillFile, "text/markdown", "---\nname: " + skillTitle + "\ndescription: " + skillPurpose + "\n---\n\nUse the forms.\n"},
		{skillDir + "/references/FORMS.md", "text/markdown", "There are forms.\n"},
	}
}

// skill is the entry of the one that there is.
func skill() object {
	var files []object
	for _, f := range skillFiles() {
		sum := sha256.Sum256([]byte(f.text))
		files = append(files, object{"uri": f.uri, "digest": "sha256:" + hex.EncodeToString(sum[:]), "size": len(f.text)})
	}
	return object{"uri": skillFile, "frontmatter": object{"name": skillTitle, "description": skillPurpose}, "resources": files}
}

// ofSkills answers what is about skills and their files; ok is false if it is not.
func ofSkills(r request) (result object, f *fault, ok bool) {
	noSuch := &fault{Code: invalidParams, Message: fmt.Sprintf("there is nothing of the kind at %q", r.Params.URI), Data: object{"uri": r.Params.URI}}
	switch r.Method {
	case "skills/list":
		return cached(object{"skills": []object{skill()}}), nil, true
	case "skills/get":
		if r.Params.URI != skillFile {
			return nil, noSuch, true
		}
		return cached(object{"skill": skill()}), nil, true
	case "resources/list":
		first := skillFiles()[0]
		return cached(object{"resources": []object{{"uri": first.uri, "name": skillTitle, "description": skillPurpose, "mimeType": first.mime}}}), nil, true
	case "resources/templates/list":
		return cached(object{"resourceTemplates": []object{}}), nil, true
	case "resources/read":
		for _, f := range skillFiles() {
			if f.uri == r.Params.URI {
				return cached(object{"contents": []object{{"uri": f.uri, "mimeType": f.mime, "text": f.text}}}), nil, true
			}
		}
		return nil, noSuch, true
	case "resources/directory/read":
		children := childrenOf(r.Params.URI)
		if len(children) == 0 {
			return nil, noSuch, true
		}
		return cached(object{"resources": children}), nil, true
	}
	return nil, nil, false
}

// childrenOf is what is in a directory; nothing if it is none.
func childrenOf(dir string) (children []object) {
	seen := map[string]bool{}
	for _, f := range skillFiles() {
		rest, within := strings.CutPrefix(f.uri, dir+"/")
		name, _, isDir := strings.Cut(rest, "/")
		if !within || seen[name] {
			continue
		}
		seen[name] = true
		child := object{"uri": dir + "/" + name, "name": name, "mimeType": f.mime}
		if isDir {
			child["mimeType"] = "inode/directory"
		}
		children = append(children, child)
	}
	return children
}
